"""Questions about the objects of a scene, with their answers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ipcv.bench.scenes.lexicon import COLOURS, COUNTS, PLURALS, SHAPES
from ipcv.bench.scenes.objects import SceneObject

QUESTION_KINDS = ("read", "colour", "shape", "count", "exists", "relation")

MARGIN = 36  # two centres closer than this along an axis are not compared


@dataclass(frozen=True)
class Question:
    """One question.

    ``about`` holds the indices of the objects that it names, and ``source`` the index of the object
    that shows the answer, or -1 where no single one does or none is noted.
    """

    kind: str
    text: str
    answer: str
    about: tuple[int, ...] = ()
    source: int = -1


def ask(kind: str, objects: Sequence[SceneObject], rng: random.Random) -> Question | None:
    """A question of a kind, or None if the scene allows no unambiguous one."""
    return _ASK[kind](objects, rng)


def _shapes(objects: Sequence[SceneObject]) -> list[tuple[int, SceneObject]]:
    return [(i, item) for i, item in enumerate(objects) if item.kind == "shape"]


def _read(objects: Sequence[SceneObject], rng: random.Random) -> Question | None:
    kinds = Counter(item.kind for item in objects)
    texts = [i for i, item in enumerate(objects) if item.text and kinds[item.kind] == 1]
    if not texts:
        return None
    i = rng.choice(texts)
    item = objects[i]
    return Question("read", f"What {item.kind} is written?", item.text, (i,))


def _colour(objects: Sequence[SceneObject], rng: random.Random) -> Question | None:
    shapes = Counter(item.shape for item in objects)
    single = [(i, item) for i, item in _shapes(objects) if shapes[item.shape] == 1]
    if not single:
        return None
    i, item = rng.choice(single)
    return Question("colour", f"What colour is the {item.shape}?", item.colour, (i,))


def _shape(objects: Sequence[SceneObject], rng: random.Random) -> Question | None:
    colours = Counter(item.colour for item in objects)
    single = [(i, item) for i, item in _shapes(objects) if colours[item.colour] == 1]
    if not single:
        return None
    i, item = rng.choice(single)
    return Question("shape", f"What shape is {item.colour}?", item.shape, (i,))


def _count(objects: Sequence[SceneObject], rng: random.Random) -> Question | None:
    """Draw the count first, then what occurs that often: the answers are near uniform."""
    groups: dict[int, list[str]] = {}
    for names in (
        Counter(PLURALS[item.shape] for _, item in _shapes(objects)),
        Counter(f"{item.colour} shapes" for _, item in _shapes(objects)),
    ):
        for name, count in names.items():
            groups.setdefault(count, []).append(name)
    counts = [count for count in COUNTS if count in groups]
    if not counts:
        return None
    # Single things are in every scene, larger groups in some: ask for the largest group mostly.
    count = max(counts) if rng.random() < 0.7 else rng.choice(counts)
    return Question("count", f"How many {rng.choice(groups[count])} are there?", str(count))


def _exists(objects: Sequence[SceneObject], rng: random.Random) -> Question | None:
    present = {(item.colour, item.shape) for _, item in _shapes(objects)}
    if not present:
        return None
    if rng.random() < 0.5:
        i, item = rng.choice(_shapes(objects))
        return Question("exists", f"Is there a {item.colour} {item.shape}?", "yes", (i,))
    near = [(c, s) for c, _ in present for _, s in present if (c, s) not in present]
    anywhere = [(c, s) for c in COLOURS for s in SHAPES if (c, s) not in present]
    colour, shape = rng.choice(sorted(near) if near and rng.random() < 0.6 else anywhere)
    return Question("exists", f"Is there a {colour} {shape}?", "no")


def _relation(objects: Sequence[SceneObject], rng: random.Random) -> Question | None:
    axis, words = rng.choice(((0, "left of"), (1, "above")))
    pairs = [
        (i, j)
        for i, a in _shapes(objects)
        for j, b in _shapes(objects)
        if b.centre[axis] - a.centre[axis] >= MARGIN
    ]
    if not pairs:
        return None
    first, second = rng.choice(pairs)
    answer = rng.choice(("yes", "no"))
    if answer == "no":
        first, second = second, first
    a, b = objects[first], objects[second]
    text = f"Is the {a.colour} {a.shape} {words} the {b.colour} {b.shape}?"
    return Question("relation", text, answer, (first, second))


_ASK = {
    "read": _read,
    "colour": _colour,
    "shape": _shape,
    "count": _count,
    "exists": _exists,
    "relation": _relation,
}
