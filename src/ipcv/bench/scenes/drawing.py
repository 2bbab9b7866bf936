"""Painting: backgrounds, shapes and printed text."""

from __future__ import annotations

import colorsys
import math
import random
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ipcv.bench.scenes.lexicon import COLOURS
from ipcv.bench.scenes.objects import SceneObject

FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "STIXGeneral",
    "STIXGeneralBol",
)

PHOTOS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "grass.png",
    "gravel.png",
    "ihc.png",
    "motorcycle_left.png",
    "rocket.jpg",
)

_SUPERSAMPLE = 3
_NEEDS_EXTRA = "drawing scenes needs {0}: pip install {0}"


@lru_cache(maxsize=1)
def _font_folder() -> Path:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(_NEEDS_EXTRA.format("matplotlib")) from error
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@cache
def load_font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """One of `FONTS`, at a size in pixels."""
    return ImageFont.truetype(str(_font_folder() / f"{name}.ttf"), size)


@cache
def _photo(name: str) -> Image.Image:
    try:
        import skimage
    except ImportError as error:
        raise ImportError(_NEEDS_EXTRA.format("scikit-image")) from error
    return Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB")


def measure_text(text: str, font: str, font_size: int) -> tuple[int, int]:
    """Width and height in pixels of the ink of a printed text."""
    left, top, right, bottom = load_font(font, font_size).getbbox(text)
    return math.ceil(right - left), math.ceil(bottom - top)


def character_edges(item: SceneObject) -> list[float]:
    """Where the characters of a printed text begin and, at last, end: x in pixels."""
    font = load_font(item.font, item.font_size)
    start = item.box[0] - font.getbbox(item.text)[0]
    return [start + font.getlength(item.text[:i]) for i in range(len(item.text) + 1)]


def _pale(rng: random.Random) -> tuple[int, int, int]:
    """A colour of low saturation, so that the shapes stand out."""
    r, g, b = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.3), rng.uniform(0.15, 0.95))
    return round(255 * r), round(255 * g), round(255 * b)


def _gradient(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """A smooth blend of four corner colours."""
    corners = np.array([[_pale(rng), _pale(rng)], [_pale(rng), _pale(rng)]], dtype=np.uint8)
    return Image.fromarray(corners).resize(size, Image.Resampling.BILINEAR)


def _noise(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """A flat colour with Gaussian noise of a random grain."""
    grain = rng.choice((1, 2, 4, 8, 16))
    shape = (max(2, size[1] // grain), max(2, size[0] // grain), 3)
    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(shape, dtype=np.float32)
    pixels = np.array(_pale(rng), dtype=np.float32) + rng.uniform(4, 28) * noise
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return image.resize(size, Image.Resampling.BILINEAR)


def paint_photo(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """A crop of a photo of `size` (width, height), of random scale, faded towards a pale colour."""
    photo = _photo(rng.choice(PHOTOS))
    fit = min(photo.width / size[0], photo.height / size[1])
    scale = fit * rng.uniform(0.4, 1.0)
    width, height = size[0] * scale, size[1] * scale
    left, top = rng.uniform(0, photo.width - width), rng.uniform(0, photo.height - height)
    box = (left, top, left + width, top + height)
    crop = photo.resize(size, Image.Resampling.BILINEAR, box=box)
    return Image.blend(crop, Image.new("RGB", size, _pale(rng)), rng.uniform(0.25, 0.7))


def paint_background(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """A gradient, noise or a photo crop, of ``size`` (width, height)."""
    return rng.choice((_gradient, _noise, paint_photo))(rng, size)


def _outline(shape: str) -> list[tuple[float, float]]:
    """The polygon of a shape inside the square from -1 to 1 (y points down)."""
    if shape == "square":
        return [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)]
    if shape == "diamond":
        return [(0, -1), (0.72, 0), (0, 1), (-0.72, 0)]
    if shape == "triangle":
        return [(0, -0.95), (0.97, 0.8), (-0.97, 0.8)]
    if shape == "cross":
        a, b = 0.34, 0.97
        return [
            (-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a),
            (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a),
        ]  # fmt: skip
    if shape == "star":
        radii = [1.0 if i % 2 == 0 else 0.42 for i in range(10)]
        angles = [math.pi * (i / 5 - 0.5) for i in range(10)]
        return [(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]
    turn = [2 * math.pi * i / 48 for i in range(48)]
    if shape == "heart":
        return [
            (
                0.97 * math.sin(t) ** 3,
                -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t))
                / 16.5
                - 0.1,
            )
            for t in turn
        ]
    return [(0.98 * math.cos(t), 0.98 * math.sin(t)) for t in turn]  # circle and ring


def _shape_mask(shape: str, side: int, angle: float, grow: float) -> Image.Image:
    """An anti-aliased mask of a shape; ``grow`` moves its edge by pixels, outwards if positive."""
    large = side * _SUPERSAMPLE
    mask = Image.new("L", (large, large))
    canvas = ImageDraw.Draw(mask)
    cos, sin = math.cos(angle), math.sin(angle)
    scale = large / 2 * (0.93 + 2 * grow / side)

    def spots(points: list[tuple[float, float]], factor: float) -> list[tuple[float, float]]:
        return [
            (large / 2 + factor * (x * cos - y * sin), large / 2 + factor * (x * sin + y * cos))
            for x, y in points
        ]

    canvas.polygon(spots(_outline(shape), scale), fill=255)
    if shape == "ring":
        hole = large / 2 * (0.52 - 2 * grow / side)
        canvas.polygon(spots(_outline("circle"), hole), fill=0)
    return mask.resize((side, side), Image.Resampling.BOX)


def paint_shape(image: Image.Image, item: SceneObject, rng: random.Random) -> None:
    """Draw a shape with a thin dark or light edge; the colour varies a little."""
    left, top, right, _ = item.box
    side, angle = right - left, rng.uniform(-0.16, 0.16)
    fill = tuple(
        min(255, max(0, channel + rng.randint(-14, 14))) for channel in COLOURS[item.colour]
    )
    edge = rng.choice(((20, 20, 20), (245, 245, 245)))
    image.paste(edge, (left, top), _shape_mask(item.shape, side, angle, 0.0))
    image.paste(fill, (left, top), _shape_mask(item.shape, side, angle, -1.5))


def paint_text(image: Image.Image, item: SceneObject) -> None:
    """Print a number or a word, dark on light or light on dark, with a thin contrasting edge."""
    font = load_font(item.font, item.font_size)
    offset_x, offset_y, _, _ = font.getbbox(item.text)
    light = np.asarray(image.crop(item.box).convert("L")).mean() > 118
    ink, edge = ((16, 16, 16), (250, 250, 250)) if light else ((250, 250, 250), (16, 16, 16))
    spot = (item.box[0] - offset_x, item.box[1] - offset_y)
    ImageDraw.Draw(image).text(
        spot, item.text, fill=ink, font=font, stroke_width=1, stroke_fill=edge
    )
