"""RGB from every mode that Pillow knows, on white where a picture is transparent."""

from __future__ import annotations

import numpy as np
from PIL import Image

ROWS = 512
"""How many rows at a time are put on white: of a large picture, all would need much memory."""


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture in RGB; transparent parts are white, as in vLLM.

    16 bits a channel are scaled to 8, and floating point from [0, 1].

    Raises:
        ValueError: it does not say what is white: 32-bit integers, and floats beyond [0, 1].
    """
    if image.mode == "F":
        return _from_float(image)
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_integers(image)
    if image.has_transparency_data:
        return _on_white(image)
    return image.convert("RGB")


def _from_float(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if not (values.min() >= 0 and values.max() <= 1):  # also for NaN
        raise ValueError("its floating-point values go beyond [0, 1]: scale them")
    return Image.fromarray((values * 255).round().astype(np.uint8)).convert("RGB")


def _from_integers(image: Image.Image) -> Image.Image:
    if image.mode == "I" and image.format != "PPM":  # which has 16 bits in this mode
        raise ValueError("its 32-bit integers do not say what is white: save it with 8 or 16 bits")
    values = np.asarray(image).astype(np.uint32)
    levels = ((values + 128) // 257).astype(np.uint8)
    if isinstance(transparent := image.info.get("transparency"), int):
        levels[values == transparent] = 255
    return Image.fromarray(levels).convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    page = Image.new("RGB", image.size, "white")
    for top in range(0, image.height, ROWS):
        part = image.crop((0, top, image.width, min(top + ROWS, image.height)))
        part = (part.convert("LA") if part.mode == "La" else part).convert("RGBA")
        page.paste(part, (0, top), part)
    return page
