"""The ablation: removed patches stay as they were when they were removed."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ipcv.ops import Neighbors


def none(
    removed: Tensor,
    kept: Tensor,
    removed_lengths: Sequence[int],
    kept_lengths: Sequence[int],
    num_neighbors: int,
) -> Neighbors:
    """No neighbours: nothing moves a removed row."""
    return Neighbors(kept.new_zeros(len(removed), 0).long())
