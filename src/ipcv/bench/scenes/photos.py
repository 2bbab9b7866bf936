"""Photos: drawn objects on photo crops, with little contrast, camera noise and JPEG artefacts."""

from __future__ import annotations

import random
from dataclasses import replace
from io import BytesIO

import numpy as np
from PIL import Image

from ipcv.bench.scenes import compose, crowd
from ipcv.bench.scenes.drawing import paint_photo
from ipcv.bench.scenes.questions import QUESTION_KINDS, ask
from ipcv.bench.scenes.sheet import Sheet

PHOTO_KINDS = tuple(f"photo-{kind}" for kind in QUESTION_KINDS)

_ASKED = 4  # questions of each kind


def compose_photo(rng: random.Random, size: tuple[int, int]) -> Sheet:
    """A photo of ``size`` (width, height), with the question kinds of the drawn scenes."""
    image, objects = compose(rng, size, *crowd(rng, size), paint_photo(rng, size))
    sheet = Sheet.blank(rng, degrade(image, rng))
    sheet.objects += objects
    for kind in QUESTION_KINDS:
        asked = [ask(kind, objects, rng) for _ in range(_ASKED)]
        sheet.questions += [replace(q, kind=f"photo-{kind}") for q in asked if q is not None]
    return sheet


def degrade(image: Image.Image, rng: random.Random) -> Image.Image:
    """An image as a poor camera gives it: 40 to 90 % contrast, noise, JPEG of quality 20 to 60."""
    pixels = np.asarray(image, dtype=np.float32)
    grey, contrast = rng.uniform(90, 165), rng.uniform(0.4, 0.9)
    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(pixels.shape, np.float32)
    pixels = grey + contrast * (pixels - grey) + rng.uniform(2, 14) * noise
    file = BytesIO()
    clipped = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    clipped.save(file, "JPEG", quality=rng.randint(20, 60))
    return Image.open(file).convert("RGB")
