"""Drawn scenes with questions: coloured shapes, a printed number and a printed word.

Every scene follows from its seed alone. Seeds from ``HELD_OUT`` on are for evaluation; no training
code of this project uses them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ipcv.bench.scenes.lexicon import COLOURS, SHAPES, WORDS
from ipcv.bench.scenes.objects import SceneObject
from ipcv.bench.scenes.questions import QUESTION_KINDS, Question, ask

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "COLOURS",
    "HELD_OUT",
    "QUESTION_KINDS",
    "SHAPES",
    "WORDS",
    "Question",
    "Scene",
    "SceneObject",
    "ask",
    "compose",
    "crowd",
    "draw_scene",
]

HELD_OUT = 10_000_000
"""The first seed that is never trained on."""

_PIXELS_PER_SHAPE = 16_000


@dataclass(frozen=True)
class Scene:
    """An image, what is in it, and one question of every kind that it allows.

    Of a clip, the image is its first frame, and ``later`` the others.
    """

    image: Image
    objects: tuple[SceneObject, ...]
    questions: tuple[Question, ...]
    later: tuple[Image, ...] = ()

    @property
    def frames(self) -> tuple[Image, ...]:
        """All that is shown, in order."""
        return self.image, *self.later

    def showing(self, frames: Sequence[Image]) -> Scene:
        """The same questions about other frames."""
        return replace(self, image=frames[0], later=tuple(frames[1:]))


def draw_scene(seed: int, size: tuple[int, int] = (448, 448)) -> Scene:
    """Draw the scene of a seed.

    Objects have the same pixel sizes whatever the ``size`` (width, height) of the image; a small
    image has fewer of them. At 448 x 448 there are three to seven shapes, a number and a word, and
    a question of each of the :data:`QUESTION_KINDS`.
    """
    rng = random.Random(f"{seed} {size[0]} {size[1]}")
    image, objects = compose(rng, size, *crowd(rng, size))
    questions = [ask(kind, objects, rng) for kind in QUESTION_KINDS]
    return Scene(image, objects, tuple(q for q in questions if q is not None))


def crowd(rng: random.Random, size: tuple[int, int]) -> tuple[int, int, int]:
    """How many shapes at most, numbers and words an image of ``size`` is to hold."""
    most_shapes = min(7, max(1, size[0] * size[1] // _PIXELS_PER_SHAPE))
    if most_shapes >= 3:
        return most_shapes, 1, 1
    numbers = rng.randint(0, 1)
    return most_shapes, numbers, 1 - numbers


def compose(
    rng: random.Random,
    size: tuple[int, int],
    most_shapes: int,
    numbers: int,
    words: int,
    background: Image | None = None,
) -> tuple[Image, tuple[SceneObject, ...]]:
    """Paint an image of ``size`` with up to so many objects and say what is where."""
    from ipcv.bench.scenes import drawing
    from ipcv.bench.scenes import objects as things

    attributes = things.draw_attributes(rng, most_shapes) if most_shapes else []
    texts = things.draw_texts(rng, numbers, words)
    image = background or drawing.paint_background(rng, size)
    placed = tuple(
        things.arrange(rng, size, attributes, texts, drawing.measure_text, drawing.FONTS)
    )
    for item in placed:
        if item.kind == "shape":
            drawing.paint_shape(image, item, rng)
        else:
            drawing.paint_text(image, item)
    return image, placed
