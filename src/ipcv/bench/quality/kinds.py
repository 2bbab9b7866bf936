"""Rows of records by kind: of picture and question, or of the folder of an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ipcv.bench.quality.records import Row
from ipcv.bench.scenes.pictures import DRAWN, picture_of


def question_groups(kinds: Iterable[str]) -> dict[str, set[str]]:
    """The kinds of question by name: each by its own, and all about a picture by the picture's.

    Pictures come first, and only where there are others than drawn scenes.
    """
    by_picture: dict[str, set[str]] = {}
    for kind in kinds:
        by_picture.setdefault(picture_of(kind), set()).add(kind)
    single = {kind: {kind} for kind in kinds}
    return single if by_picture.keys() <= {DRAWN} else by_picture | single


def question_kinds(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of the suite per group of kinds, each with the results of that group alone."""
    groups = question_groups(dict.fromkeys(kind for row in rows for kind in row["kinds"]))
    return {name: _restricted(rows, kinds) for name, kinds in groups.items()}


def _restricted(rows: Sequence[Row], kinds: set[str]) -> list[Row]:
    result = []
    for row in rows:
        right = [r for k, r in zip(row["kinds"], row["right"], strict=True) if k in kinds]
        if right:
            result.append(row | {"right": right})
    return result


def image_kinds(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of images per folder inside the one that was asked for; other rows are left out."""
    result: dict[str, list[Row]] = {}
    for row in rows:
        kind, slash, _ = row["image"].rpartition("/")
        if slash:
            result.setdefault(kind, []).append(row)
    return dict(sorted(result.items()))
