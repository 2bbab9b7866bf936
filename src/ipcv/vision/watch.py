"""A watch over models around a compressed encoder, that says so when another encoder ran."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ipcv.core.arguments import Arguments
from ipcv.core.hooks import Hooked
from ipcv.vision.engine import VisionEngine

PIXELS = ("pixel_values", "pixel_values_videos")
ENCODED = ("mm_encoder_outputs", "encoder_outputs")
"""What `generate` has encoded before, and gives beside the pixels."""


class Watch(Hooked[Any]):
    """Warns once if pixels go into a model and its compressed encoder does not run.

    Args:
        model: around the encoder.
        encoder: what compresses that.
    """

    def __init__(self, model: nn.Module, encoder: VisionEngine[Any]) -> None:
        super().__init__()
        self._model, self._encoder, self._has_warned = model, encoder, False

    @property
    def target(self) -> nn.Module:
        """The model around the encoder."""
        return self._model

    def attach(self) -> None:
        """Watch its calls."""
        self._hooks.surround(self._model, "forward", self._watched)

    @contextmanager
    def _watched(self, arguments: Arguments) -> Iterator[None]:
        self._encoder.has_run = False
        yield
        has_pixels, is_encoded = (
            any(arguments.get(name) is not None for name in names) for names in (PIXELS, ENCODED)
        )
        is_missing = has_pixels and not is_encoded and not self._encoder.has_run
        if is_missing and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                "pixels went into the model, but not through the encoder that is compressed: "
                "something runs another one (such as a copy in PEFT's modules_to_save): "
                "remove the handle, and compress the model as it is now",
                stacklevel=4,
            )
