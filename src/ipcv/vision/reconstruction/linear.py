"""Locally linear weights, by features and position."""

from __future__ import annotations

from ipcv.vision.neighbors import Neighbors
from ipcv.vision.reconstruction.affine import affine
from ipcv.vision.reconstruction.local import POSITION_WEIGHT
from ipcv.vision.reconstruction.split import Split


def linear(split: Split, num_neighbors: int) -> Neighbors:
    """As "affine", with positions beside the features."""
    return affine(split.located(POSITION_WEIGHT), num_neighbors)
