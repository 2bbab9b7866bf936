"""Weights of neighbours from where they lie around the removed row."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ipcv.core import ops
from ipcv.vision.neighbors import Neighbors
from ipcv.vision.reconstruction.split import Split

TINY = 1e-12
"""Stands for 0 where one divides."""


def weighted(
    split: Split, neighbors: Neighbors, rule: Callable[[Tensor, Tensor], Tensor]
) -> Neighbors:
    """The same neighbours with other weights.

    Args:
        split: the rows.
        neighbors: of the removed ones.
        rule: `(products, present) -> weights`: the products `(r, k, k)` of a removed row's offsets
            to its neighbours, fp32, and which of the `k` are there, `(r, k)` bool; to `(r, k)`.
            Products with what is absent are 0.
    """
    indices, present = neighbors.indices, torch.ones_like(neighbors.indices, dtype=torch.bool)
    if neighbors.weights is not None:
        present = neighbors.weights > 0
    num_rows, width = indices.shape
    per_row = 4 * width * (split.kept.shape[1] + width)
    step = max(1, ops.NEIGHBOR_MEMORY_BUDGET // per_row)
    weights = split.kept.new_empty(num_rows, width, dtype=torch.float32)
    for first in range(0, num_rows, step):
        row = slice(first, first + step)
        offsets = split.kept[indices[row]].float() - split.removed[row, None].float()
        offsets *= present[row, :, None]
        weights[row] = rule(offsets @ offsets.transpose(1, 2), present[row])
    return Neighbors(indices, weights)
