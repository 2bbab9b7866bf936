"""Clips: a still camera, a panning one, cuts, and a counter, as frames with questions."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import permutations
from typing import NamedTuple

from PIL import Image, ImageDraw

from ipcv.bench.scenes.drawing import (
    FONTS,
    measure_text,
    paint_background,
    paint_photo,
    paint_shape,
    paint_text,
)
from ipcv.bench.scenes.lexicon import COLOURS, COUNTS, SHAPES, WORDS
from ipcv.bench.scenes.objects import Box, SceneObject, draw_number
from ipcv.bench.scenes.questions import Question

CLIP_KINDS = (
    "video-direction",
    "video-flash",
    "video-camera",
    "video-first",
    "video-last",
)

LENGTHS = (4, 16)
"""The fewest and the most frames of a clip."""

WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
"""Along (x, y), which points down."""

_LIT, _DARK = (255, 250, 190), (40, 40, 40)


class Clip(NamedTuple):
    """Frames of one size, in order, and all questions about them; a frame that stays is one."""

    frames: tuple[Image.Image, ...]
    questions: tuple[Question, ...]


def compose_clip(rng: random.Random, size: tuple[int, int], count: int) -> Clip:
    """A clip of so many frames, from 4 on, of `size` (width, height), at least 224 each."""
    return rng.choice(_COMPOSERS)(rng, size, count)


def _still(rng: random.Random, size: tuple[int, int], count: int) -> Clip:
    """A shape that moves, another one that does not, and a light that flashes above them."""
    flashes = rng.choice([flashes for flashes in COUNTS if 2 * flashes <= count])
    ground, way = paint_background(rng, size), rng.choice(list(WAYS))
    shown = rng.sample(SHAPES, 2)
    colours = rng.sample(list(COLOURS), 2)
    lit = _flashes(rng, count, flashes)
    side, lamp = rng.randint(44, 64), rng.randint(16, 24)
    seed = rng.getrandbits(32)
    frames = []
    for number in range(count):
        frame, paint = ground.copy(), random.Random(seed)  # the same shade in all frames
        spots = _moving(size, side, way, number / (count - 1)), _resting(size, side)
        for shape, colour, box in zip(shown, colours, spots, strict=True):
            paint_shape(frame, SceneObject("shape", box, shape, colour), paint)
        lamp_box = (12, 12, 12 + 2 * lamp, 12 + 2 * lamp)
        fill = _LIT if lit[number] else _DARK
        ImageDraw.Draw(frame).ellipse(lamp_box, fill, outline=(128, 128, 128), width=3)
        frames.append(frame)
    direction = f"Which way does the {colours[0]} {shown[0]} move?"
    questions = (
        Question("video-direction", direction, way),
        Question("video-flash", "How many times does the light flash?", str(flashes)),
    )
    return Clip(tuple(frames), questions)


def _flashes(rng: random.Random, count: int, flashes: int) -> list[bool]:
    """In which frames the light is on: so many times, for a frame each, never in the first."""
    gaps = sorted(rng.sample(range(1, count - flashes + 1), flashes))
    return [number in {gap + i for i, gap in enumerate(gaps)} for number in range(count)]


def _moving(size: tuple[int, int], side: int, way: str, part: float) -> Box:
    """Where a shape is after a part of its way, across the lower right three quarters."""
    x, y = WAYS[way]
    room = size[0] - side - 76, size[1] - side - 76
    middle = [76 + r // 2 for r in room]
    left, top = (
        round(m + s * r * (part - 0.5)) for m, s, r in zip(middle, (x, y), room, strict=True)
    )
    return left, top, left + side, top + side


def _resting(size: tuple[int, int], side: int) -> Box:
    """The upper right corner, which no way crosses."""
    return size[0] - side - 8, 8, size[0] - 8, 8 + side


def _pan(rng: random.Random, size: tuple[int, int], count: int) -> Clip:
    """A camera that looks along a photo."""
    way = rng.choice(list(WAYS))
    x, y = WAYS[way]
    room = round(rng.uniform(0.3, 0.8) * min(size))
    wide = paint_photo(rng, (size[0] + abs(x) * room, size[1] + abs(y) * room))
    frames = []
    for number in range(count):
        done = room * number / (count - 1)
        left, top = (round(done if s > 0 else (room - done) * -s) for s in (x, y))
        frames.append(wide.crop((left, top, left + size[0], top + size[1])))
    return Clip(tuple(frames), (Question("video-camera", "Which way does the camera move?", way),))


def _cuts(rng: random.Random, size: tuple[int, int], count: int) -> Clip:
    """Two to four shots, of two frames or more, with a word in each."""
    shots = rng.randint(2, min(4, count // 2))
    words, frames = rng.sample(WORDS, shots), list[Image.Image]()
    cuts = sorted(rng.sample(range(1, count - shots), shots - 1))  # of what is beyond one each
    ends = [cut + number for number, cut in enumerate(cuts, 1)]
    for word, start, end in zip(words, [0, *ends], [*ends, count], strict=True):
        shot = paint_background(rng, size)
        _write(rng, shot, word)
        frames += [shot] * (end - start)
    questions = [
        Question("video-first", f"Which word came first, {a} or {b}?", words[min(i, k)])
        for (i, a), (k, b) in permutations(enumerate(words), 2)
    ]
    return Clip(tuple(frames), tuple(questions))


def _counter(rng: random.Random, size: tuple[int, int], count: int) -> Clip:
    """A screen of one colour on which a number changes, at the same place or at another."""
    ground, frames, number = paint_background(rng, size), list[Image.Image](), ""
    for index in range(count):
        if index == 0 or rng.random() < 0.4 or index == count - 1:
            frame, number = ground.copy(), draw_number(rng)
            _write(rng, frame, number)
        frames.append(frame)
    text = "What number is shown in the last frame?"
    return Clip(tuple(frames), (Question("video-last", text, number),))


def _write(rng: random.Random, image: Image.Image, text: str) -> None:
    """Print a text somewhere."""
    font, font_size = rng.choice(FONTS), rng.randint(30, 44)
    width, height = measure_text(text, font, font_size)
    left = rng.randint(10, image.width - width - 10)
    top = rng.randint(10, image.height - height - 10)
    box = (left, top, left + width, top + height)
    kind = "number" if text.isdigit() else "word"
    paint_text(image, SceneObject(kind, box, text=text, font=font, font_size=font_size))


_COMPOSERS: tuple[Callable[[random.Random, tuple[int, int], int], Clip], ...] = (
    _still,
    _pan,
    _cuts,
    _counter,
)
