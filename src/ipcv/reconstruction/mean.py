"""The published rule: Neighbor-Guided Reconstruction (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ipcv.ops import Neighbors, nearest_neighbors


def mean(
    removed: Tensor,
    kept: Tensor,
    removed_lengths: Sequence[int],
    kept_lengths: Sequence[int],
    num_neighbors: int,
) -> Neighbors:
    """The plain mean of the nearest kept rows, by Euclidean distance."""
    return nearest_neighbors(removed, kept, removed_lengths, kept_lengths, num_neighbors)
