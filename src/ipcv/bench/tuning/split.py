"""The split of a folder into images to search on and others to judge by."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from ipcv.bench.quality.fidelity import find_images

LEAST = 4
"""Images that each part needs."""

PARTS = "calibration", "evaluation"
"""Folders that make the split themselves, as they must where images are crops of one photo."""


class ImageSplit(NamedTuple):
    """Two disjoint parts of a folder. Every first so many images of a part are of all kinds."""

    calibration: list[Path]
    held_out: list[Path]


def split_images(folder: Path) -> ImageSplit:
    """ImageSplit the images of a folder in halves, those of each kind (folder inside it) too.

    Names alone decide, in an order by their hashes. Folders `PARTS` inside it are the split
    instead.

    Raises:
        ValueError: no folder, or too few images.
    """
    images, given = find_images(folder), [folder / part for part in PARTS]
    if all(part.is_dir() for part in given):
        halves = [_ordered(folder, find_images(part)) for part in given]
    else:
        ordered = _ordered(folder, images)
        halves = [ordered[::2], ordered[1::2]]
    split = ImageSplit(*map(_mixed, halves))
    if min(map(len, split)) < LEAST:
        raise ValueError(
            f"too few images in {folder}: {len(split.calibration)} to search on and "
            f"{len(split.held_out)} to judge by, where each needs at least {LEAST}"
        )
    return split


def _ordered(folder: Path, images: Sequence[Path]) -> list[Path]:
    """Kind after kind, and within a kind as good as random."""

    def key(path: Path) -> tuple[Path, str]:
        name = path.relative_to(folder).as_posix()
        return path.parent, sha256(name.encode()).hexdigest()

    return sorted(images, key=key)


def _mixed(ordered: Sequence[Path]) -> list[Path]:
    """The kinds spread evenly over the list."""
    places = []
    for _, group in groupby(ordered, key=lambda path: path.parent):
        kind = list(group)
        places += [((i + 0.5) / len(kind), path) for i, path in enumerate(kind)]
    return [path for _, path in sorted(places)]
