"""Neighbours in the image as well as in the features."""

from __future__ import annotations

from ipcv.vision.neighbors import Neighbors
from ipcv.vision.reconstruction.split import Split

POSITION_WEIGHT = 0.5
"""Spread of the positions over that of the features."""


def local(split: Split, num_neighbors: int) -> Neighbors:
    """The plain mean of the kept rows nearest by features and position together."""
    return split.located(POSITION_WEIGHT).nearest(num_neighbors)
