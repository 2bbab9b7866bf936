"""The baseline to beat: a smaller image."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import wraps
from typing import Any

from PIL import Image

from ipcv.core.config import Config


@dataclass(frozen=True)
class Downsample(Config):
    """Shrink images before the processor sees them, so that the encoder gets fewer patches.

    Works where the processor keeps the size of an image (Qwen-VL, SigLIP 2 NaFlex, …), down to its
    smallest one. One that resizes every image to the same size undoes it.

    Attributes:
        factor: new over old length of a side, in (0, 1].

    Raises:
        ValueError: the factor is out of range.
    """

    factor: float = 0.75

    def __post_init__(self) -> None:
        is_number = isinstance(self.factor, int | float) and not isinstance(self.factor, bool)
        if not is_number or not 0 < self.factor <= 1:
            raise ValueError(f"factor must be a number in (0, 1], got {self.factor!r}")

    def __call__(self, image: Image.Image) -> Image.Image:
        """The image with both sides times `factor`, by a Lanczos filter."""
        width, height = (max(1, round(self.factor * side)) for side in image.size)
        return image.resize((width, height), Image.Resampling.LANCZOS)

    def wrap(self, processor: Any) -> Any:
        """A processor that shrinks PIL images first, those in chats and videos too.

        The one given stays as it is.
        """
        wrapped = copy(processor)
        for name in ("image_processor", "video_processor"):
            if (inner := getattr(processor, name, None)) is not None:
                inner = copy(inner)
                inner.preprocess = self._shrinking(inner.preprocess)
                setattr(wrapped, name, inner)
        return wrapped

    def _shrinking(self, preprocess: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(preprocess)
        def shrunk(images: Any, *args: Any, **kwargs: Any) -> Any:
            return preprocess(self._shrink(images), *args, **kwargs)

        return shrunk

    def _shrink(self, images: Any) -> Any:
        if isinstance(images, Image.Image):
            return self(images)
        if isinstance(images, list | tuple):
            return [self._shrink(image) for image in images]
        return images
