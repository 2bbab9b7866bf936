"""The objects of a scene, and their choice and placing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from ipcv.bench.scenes.lexicon import COLOURS, COUNTS, SHAPES, WORDS

Box = tuple[int, int, int, int]

GAP = 8  # pixels kept free between two objects and between an object and the border
SHAPE_SIDE = (36, 90)
TEXT_HEIGHT = (26, 48)


@dataclass(frozen=True)
class SceneObject:
    """One drawn thing.

    ``kind`` is ``"shape"``, ``"number"``, ``"word"`` or ``"bar"``. Shapes have a ``shape`` and a
    ``colour``, bars a ``colour``; numbers and words have a ``text``, and the ``colour`` of the
    button that they are on. ``box`` is ``(left, top, right, bottom)`` in pixels.
    """

    kind: str
    box: Box
    shape: str = ""
    colour: str = ""
    text: str = ""
    font: str = ""
    font_size: int = 0

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the box, ``(x, y)`` in pixels."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2


def draw_attributes(rng: random.Random, most: int) -> list[tuple[str, str]]:
    """Choose up to ``most`` distinct (colour, shape) pairs; the first ones form the counted group.

    A group of one to four pairs shares either its shape or its colour, so that counts are near
    uniform. Where there are at least two pairs, one has a shape and one has a colour of its own.
    """
    group = min(rng.choice(COUNTS), max(1, most - 1))
    total = rng.randint(min(max(3, group + 1), most), most)
    by_shape = rng.random() < 0.5
    while True:
        shared = rng.choice(SHAPES) if by_shape else rng.choice(tuple(COLOURS))
        pairs = [(c, s) for c in COLOURS for s in SHAPES]
        inside = [p for p in pairs if shared in p]
        outside = [p for p in pairs if shared not in p]
        chosen = rng.sample(inside, group) + rng.sample(outside, total - group)
        colours = Counter(colour for colour, _ in chosen)
        shapes = Counter(shape for _, shape in chosen)
        if 1 in colours.values() and 1 in shapes.values():
            return chosen


def draw_number(rng: random.Random) -> str:
    """A number of two or three digits."""
    return str(rng.randint(10, 99) if rng.random() < 0.5 else rng.randint(100, 999))


def overlaps(a: Box, b: Box, gap: int = 0) -> bool:
    """Whether two boxes come closer than ``gap`` pixels."""
    return a[0] < b[2] + gap and b[0] < a[2] + gap and a[1] < b[3] + gap and b[1] < a[3] + gap


def place(
    rng: random.Random, width: int, height: int, size: tuple[int, int], taken: list[Box]
) -> Box | None:
    """A free place for a ``width`` x ``height`` box in an image of ``size``, or None."""
    room_x, room_y = size[0] - width - GAP, size[1] - height - GAP
    if room_x < GAP or room_y < GAP:
        return None
    for _ in range(40):
        left, top = rng.randint(GAP, room_x), rng.randint(GAP, room_y)
        box = (left, top, left + width, top + height)
        if not any(overlaps(box, other, GAP) for other in taken):
            return box
    return None


def arrange(
    rng: random.Random,
    size: tuple[int, int],
    attributes: list[tuple[str, str]],
    texts: list[tuple[str, str]],
    measure: Callable[[str, str, int], tuple[int, int]],
    fonts: tuple[str, ...],
) -> Iterator[SceneObject]:
    """Place texts (kind, text), then shapes (colour, shape); what finds no room is left out.

    ``measure(text, font, font_size)`` gives the pixel width and height of a printed text.
    """
    taken: list[Box] = []
    for kind, text in texts:
        font, height = rng.choice(fonts), rng.randint(*TEXT_HEIGHT)
        extent = partial(measure, text, font)
        if found := _fit(rng, extent, range(height, TEXT_HEIGHT[0] - 1, -6), size, taken):
            box, font_size = found
            yield SceneObject(kind, box, text=text, font=font, font_size=font_size)
    for colour, shape in attributes:
        sides = range(rng.randint(*SHAPE_SIDE), SHAPE_SIDE[0] - 1, -12)
        if found := _fit(rng, lambda side: (side, side), sides, size, taken):
            yield SceneObject("shape", found[0], shape=shape, colour=colour)


def _fit(
    rng: random.Random,
    extent: Callable[[int], tuple[int, int]],
    scales: range,
    size: tuple[int, int],
    taken: list[Box],
) -> tuple[Box, int] | None:
    """Take a place at the first of the scales at which there is one."""
    for scale in scales:
        if (box := place(rng, *extent(scale), size, taken)) is not None:
            taken.append(box)
            return box, scale
    return None


def draw_texts(rng: random.Random, numbers: int, words: int) -> list[tuple[str, str]]:
    """The (kind, text) pairs of a scene with this many numbers and words, in random order."""
    texts = [("number", draw_number(rng)) for _ in range(numbers)]
    texts += [("word", word) for word in rng.sample(WORDS, words)]
    rng.shuffle(texts)
    return texts
