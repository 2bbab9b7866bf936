"""Dense targets: what the encoder should know at every patch and every merged cell."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ipcv.bench.scenes import COLOURS, SHAPES, WORDS, Question, SceneObject
from ipcv.bench.scenes.drawing import character_edges
from ipcv.bench.scenes.questions import MARGIN

PATCH = 14
CELL = 28
CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
DIGITS = 3
NO_DIGIT = 10
KINDS = ("background", "shape", "number", "word", "bar")
MARKS = (
    "nothing",
    "What word is the title?",
    "What shape is at the cursor?",
    "What field is active?",
    "What is the largest?",
    "What is the smallest?",
)
IGNORE = -100

_COLOUR_IDS = {name: i for i, name in enumerate(COLOURS)}
_SHAPE_IDS = {name: i for i, name in enumerate(SHAPES)}
_WORD_IDS = {name: i for i, name in enumerate(WORDS)}
_ATTRIBUTES = len(COLOURS) + len(SHAPES)

# Name: (width of the classification, number of such classifications, weight of the loss).
CLASSES = {
    "kind": (len(KINDS), 1, 0.5),
    "shape": (len(SHAPES), 1, 1.0),
    "colour": (len(COLOURS), 1, 0.5),
    "digits": (NO_DIGIT + 1, DIGITS, 1.5),
    "word": (len(WORDS), 1, 1.0),
    "same": (4, 2, 3.0),
    "mark": (len(MARKS), 1, 1.0),
    "table": (4, 2, 1.0),
    "told_digits": (NO_DIGIT + 1, DIGITS, 1.5),
    "told_word": (len(WORDS), 1, 1.0),
    "told_colour": (len(COLOURS), 1, 0.5),
}
_RELATIONS = 4 * _ATTRIBUTES  # left, right, above, below x colours and shapes
_WIDTHS = [width * times for width, times, _ in CLASSES.values()] + [2, _RELATIONS]

Targets = dict[str, NDArray[np.generic]]


def cell_targets(
    objects: Sequence[SceneObject], size: tuple[int, int], questions: Sequence[Question] = ()
) -> Targets:
    """Targets of one scene, each (cells, ...) with cells in row order.

    ``characters`` (cells, 4) holds the printed character at the centre of each patch of a cell,
    ``same`` holds how many objects (up to four) share the shape and the colour of this one,
    ``offset`` the way to the centre of the object in cells, and ``relation`` whether another object
    of a colour or shape is left of, right of, above or below it (-1: too close to call).
    From the ``questions`` about a picture follow which question a thing answers (``mark``), its row
    and column (``table``), and what is told where an object is named (``told_...``).
    """
    columns, rows = size[0] // CELL, size[1] // CELL
    out: Targets = {
        name: np.full((rows, columns, times), IGNORE, dtype=np.int64)
        for name, (_, times, _) in CLASSES.items()
    }
    out["kind"][:] = 0
    characters = np.full((2 * rows, 2 * columns), IGNORE, dtype=np.int64)
    out["offset"] = np.full((rows, columns, 2), np.nan, dtype=np.float32)
    out["relation"] = np.full((rows, columns, _RELATIONS), -1, dtype=np.int8)
    for i, item in enumerate(objects):
        ys, xs = covered_cells(item)
        area = np.s_[ys, xs]
        out["kind"][area] = KINDS.index(item.kind)
        x, y = item.centre
        out["offset"][area][..., 0] = x / CELL - np.arange(columns)[None, xs] - 0.5
        out["offset"][area][..., 1] = y / CELL - np.arange(rows)[ys, None] - 0.5
        if item.text:
            _mark_characters(characters, item)
        if item.kind == "number":
            out["digits"][area] = _digits(item.text)
        elif item.kind == "word":
            out["word"][area] = _WORD_IDS[item.text]
        if item.colour:
            out["colour"][area] = _COLOUR_IDS[item.colour]
        if item.kind == "shape":
            out["shape"][area] = _SHAPE_IDS[item.shape]
            same_shape = sum(other.shape == item.shape for other in objects)
            same_colour = sum(other.colour == item.colour for other in objects)
            out["same"][area] = [min(same_shape, 4) - 1, min(same_colour, 4) - 1]
            out["relation"][area] = _relations(i, objects)
    if any(question.source >= 0 for question in questions):
        _mark_questions(out, objects, questions)
    out["characters"] = characters.reshape(rows, 2, columns, 2).transpose(0, 2, 1, 3)
    return {name: value.reshape(rows * columns, -1) for name, value in out.items()}


def _digits(number: str) -> list[int]:
    return [int(d) for d in number] + [NO_DIGIT] * (DIGITS - len(number))


def _mark_questions(
    out: Targets, objects: Sequence[SceneObject], questions: Sequence[Question]
) -> None:
    """Write the targets that follow from the questions about a picture."""
    out["mark"][out["kind"] != 0] = 0
    for question in questions:
        if question.source < 0:
            continue
        shown = covered_cells(objects[question.source])
        if question.text in MARKS:
            out["mark"][shown] = MARKS.index(question.text)
        if place := re.search(r"row (\d) column (\d)", question.text):
            out["table"][shown] = [int(n) - 1 for n in place.groups()]
        for i in question.about:
            named = covered_cells(objects[i])
            if question.answer.isdigit():
                out["told_digits"][named] = _digits(question.answer)
            elif question.answer in _COLOUR_IDS:
                out["told_colour"][named] = _COLOUR_IDS[question.answer]
            else:
                out["told_word"][named] = _WORD_IDS[question.answer]


def _mark_characters(grid: NDArray[np.int64], item: SceneObject) -> None:
    """Write the characters of a text into a grid of patches, by the centres of the patches."""
    _, top, _, bottom = item.box
    edges = character_edges(item)
    rows = np.s_[round(top / PATCH) : round(bottom / PATCH)]
    for character, left, right in zip(item.text, edges[:-1], edges[1:], strict=True):
        columns = np.s_[round(left / PATCH) : round(right / PATCH)]
        grid[rows, columns] = CHARACTERS.index(character)


def covered_cells(item: SceneObject) -> tuple[slice, slice]:
    """The cells of which the object covers at least about a third along each axis.

    At least the one in its middle.
    """
    left, top, right, bottom = (edge / CELL for edge in item.box)

    def covered(start: float, end: float) -> slice:
        first, last = max(0, round(start - 0.15)), round(end + 0.15)
        middle = int((start + end) / 2)
        return slice(first, last) if last > first else slice(middle, middle + 1)

    return covered(top, bottom), covered(left, right)


def _relations(i: int, objects: Sequence[SceneObject]) -> NDArray[np.int8]:
    """(4 * attributes,) of 1, 0 and -1 for object ``i``."""
    beyond = np.zeros((4, _ATTRIBUTES), dtype=bool)
    near = np.zeros((4, _ATTRIBUTES), dtype=bool)
    x, y = objects[i].centre
    for j, other in enumerate(objects):
        if j == i or other.kind != "shape":
            continue
        ids = [_COLOUR_IDS[other.colour], len(COLOURS) + _SHAPE_IDS[other.shape]]
        dx, dy = other.centre[0] - x, other.centre[1] - y
        for side, distance in enumerate((-dx, dx, -dy, dy)):
            beyond[side, ids] |= distance >= MARGIN
            near[side, ids] |= abs(distance) < MARGIN
    return np.where(beyond, 1, np.where(near, -1, 0)).astype(np.int8).reshape(-1)


class CellHeads(nn.Module):
    """The auxiliary heads on the merged features; they are thrown away after training."""

    def __init__(self, width: int, patch_width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, sum(_WIDTHS))
        self.read = nn.Sequential(
            nn.LayerNorm(patch_width), nn.Linear(patch_width, len(CHARACTERS))
        )

    def forward(
        self, middle: Tensor, merged: Tensor, targets: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """The weighted loss, and accuracies by name.

        Takes states of a middle block (B, 4 * cells, C) and merged features (B, cells, D).
        """
        outputs = self.project(self.norm(merged)).split(_WIDTHS, dim=-1)
        loss, scores = self._character_loss(middle, targets["characters"].flatten())
        for logits, (name, (width, times, weight)) in zip(outputs, CLASSES.items(), strict=False):
            logits = logits.reshape(-1, width)
            truth = targets[name].reshape(-1)
            known = truth != IGNORE
            if known.any():
                loss = loss + weight * F.cross_entropy(logits[known], truth[known])
                right = torch.ones_like(known)
                right[known] = logits.detach()[known].argmax(-1) == truth[known]
                right, known = right.view(-1, times).all(-1), known.view(-1, times)[:, 0]
                scores[name] = right[known].float().mean().item()
        offset, relation = outputs[-2:]
        known = ~targets["offset"].isnan()
        loss = loss + 0.5 * F.smooth_l1_loss(offset[known], targets["offset"][known])
        known = targets["relation"] >= 0
        if known.any():
            truth = targets["relation"][known].float()
            relation = relation[known]
            loss = loss + 6.0 * F.binary_cross_entropy_with_logits(relation, truth)
            right = (relation.detach() > 0) == truth.bool()
            if truth.any():
                scores["related"] = right[truth.bool()].float().mean().item()
            scores["unrelated"] = right[~truth.bool()].float().mean().item()
        return loss, scores

    def _character_loss(self, middle: Tensor, truth: Tensor) -> tuple[Tensor, dict[str, float]]:
        known = truth != IGNORE
        if not known.any():
            return middle.new_zeros(()), {}
        logits, truth = self.read(middle.flatten(0, 1)[known]), truth[known]
        right = (logits.detach().argmax(-1) == truth).float().mean().item()
        return F.cross_entropy(logits, truth), {"characters": right}
