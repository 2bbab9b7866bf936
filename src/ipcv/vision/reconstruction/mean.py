"""The published rule: Neighbor-Guided Reconstruction (paper, section 3.2)."""

from __future__ import annotations

from ipcv.vision.neighbors import Neighbors
from ipcv.vision.reconstruction.split import Split


def mean(split: Split, num_neighbors: int) -> Neighbors:
    """The plain mean of the nearest kept rows, by Euclidean distance."""
    return split.nearest(num_neighbors)
