"""The cheapest rule: follow one patch."""

from __future__ import annotations

from ipcv.vision.neighbors import Neighbors
from ipcv.vision.reconstruction.split import Split


def nearest(split: Split, num_neighbors: int) -> Neighbors:
    """The nearest kept row alone, whatever `num_neighbors` is."""
    return split.nearest(1)
