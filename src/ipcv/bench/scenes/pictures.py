"""Pictures of the kinds that users bring, drawn: pages, screens, charts, photos and clips."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from ipcv.bench.scenes import QUESTION_KINDS, Scene, draw_scene
from ipcv.bench.scenes.charts import CHART_KINDS, compose_chart
from ipcv.bench.scenes.clips import CLIP_KINDS, LENGTHS, compose_clip
from ipcv.bench.scenes.pages import PAGE_KINDS, compose_page
from ipcv.bench.scenes.photos import PHOTO_KINDS, compose_photo
from ipcv.bench.scenes.questions import Question
from ipcv.bench.scenes.screens import SCREEN_KINDS, compose_screen
from ipcv.bench.scenes.sheet import Sheet
from ipcv.core.config import require_name

DRAWN = "drawn"
"""The name of the pictures of `draw_scene`."""

VIDEO = "video"
"""The name of the clips, of several frames each."""

COMPOSERS: dict[str, Callable[[random.Random, tuple[int, int]], Sheet]] = {
    "page": compose_page,
    "screen": compose_screen,
    "chart": compose_chart,
    "photo": compose_photo,
}
"""What paints a picture of a size (width, height), by its name."""

PICTURES: dict[str, tuple[str, ...]] = {
    DRAWN: QUESTION_KINDS,
    "page": PAGE_KINDS,
    "screen": SCREEN_KINDS,
    "chart": CHART_KINDS,
    "photo": PHOTO_KINDS,
    VIDEO: CLIP_KINDS,
}
"""The question kinds of each picture."""


def check_pictures(names: Sequence[str] | None) -> tuple[str, ...]:
    """These, or all. Raises `ValueError` for one that is none of `PICTURES`."""
    for name in names or ():
        require_name("picture", name, PICTURES)
    return tuple(dict.fromkeys(names or PICTURES))


def picture_of(kind: str) -> str:
    """The picture that a kind of question is about."""
    picture, _, _ = kind.partition("-")
    return picture if picture in PICTURES else DRAWN


def draw_picture(name: str, seed: int, size: tuple[int, int] = (448, 448)) -> Scene:
    """Draw the picture of a seed, with one question of every kind that it allows.

    A clip allows one or two.

    Args:
        name: one of `PICTURES`.
        seed: from `HELD_OUT` on, never trained on.
        size: (width, height) in pixels, at least 224 each. Print, icons and shapes have the same
            pixel sizes whatever it is; a small picture has fewer of them.
    """
    if name == DRAWN:
        return draw_scene(seed, size)
    rng = random.Random(f"{name} {seed} {size[0]} {size[1]}")
    if name == VIDEO:
        clip = compose_clip(rng, size, rng.randint(*LENGTHS))
        return Scene(clip.frames[0], (), _one_each(rng, name, clip.questions), clip.frames[1:])
    sheet = COMPOSERS[name](rng, size)
    return Scene(sheet.image, tuple(sheet.objects), _one_each(rng, name, sheet.questions))


def _one_each(rng: random.Random, name: str, questions: Sequence[Question]) -> tuple[Question, ...]:
    """A question of every kind that there is."""
    by_kind: dict[str, list[Question]] = {}
    for question in questions:
        by_kind.setdefault(question.kind, []).append(question)
    return tuple(rng.choice(by_kind[kind]) for kind in PICTURES[name] if kind in by_kind)
