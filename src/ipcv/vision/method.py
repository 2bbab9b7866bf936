"""The base of all methods for the vision encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from ipcv.core.config import Config
from ipcv.vision.adapters.base import EncoderAdapter
from ipcv.vision.engine import VisionEngine
from ipcv.vision.records import Record


class VisionMethod(Config, ABC):
    """Settings of a method for the vision encoder, and what runs it there.

    Subclasses are frozen dataclasses. They extend `OneStepMethod`, which prunes rows once,
    `StepsMethod`, which does before several blocks, or `EveryBlockMethod`, whose tokens get fewer
    in every block.
    """

    @abstractmethod
    def engine(self, adapter: EncoderAdapter, record: Record) -> VisionEngine[Any]:
        """What runs this method in an encoder; not attached yet.

        Args:
            adapter: the encoder.
            record: gets a record of every call of it.

        Raises:
            ValueError: the settings cannot work for this encoder.
        """
