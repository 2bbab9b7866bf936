"""The ablation: removed patches stay as they were when they were removed."""

from __future__ import annotations

from ipcv.vision.neighbors import Neighbors
from ipcv.vision.reconstruction.split import Split


def none(split: Split, num_neighbors: int) -> Neighbors:
    """No neighbours: nothing moves a removed row."""
    return Neighbors(split.kept.new_zeros(len(split.removed), 0).long())
