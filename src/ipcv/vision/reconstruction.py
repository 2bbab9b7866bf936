"""Rules for rebuilding removed patches, by the name that `IPCV.reconstruction` has for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ipcv.core import ops
from ipcv.vision.neighbors import Frames, Neighbors, nearest_neighbors

POSITION_WEIGHT = 0.5
"""Spread of the positions over that of the features, in `linear`."""

RIDGE = 0.01
"""Added to the diagonal, over its mean: keeps weights small where neighbours are nearly alike."""

NEARLY_ZERO = 1e-12
"""Stands for 0 where one divides."""


@dataclass(frozen=True)
class Partition:
    """The rows of the pruning layer's input, item by item.

    Attributes:
        removed, kept: `(R, C)` and `(K, C)`; some of the removed ones may be padding.
        removed_lengths, kept_lengths: rows per item.
        positions: gives `(R, 3)` and `(K, 3)`: frame or tile, row and column of each patch.
        frames: of items that look for neighbours in few frames.
    """

    removed: Tensor
    kept: Tensor
    removed_lengths: Sequence[int]
    kept_lengths: Sequence[int]
    positions: Callable[[], tuple[Tensor, Tensor]]
    frames: Frames | None = None

    def nearest(self, num_neighbors: int) -> Neighbors:
        """For each removed row the nearest kept rows of its item, all with the same weight."""
        rows, lengths = (self.removed, self.kept), (self.removed_lengths, self.kept_lengths)
        return nearest_neighbors(*rows, *lengths, num_neighbors, self.frames)

    def located(self, weight: float) -> Partition:
        """Positions as more features, in fp32, so that patches far apart are far from each other.

        Args:
            weight: how wide an item's positions spread, over how wide its features do. Kept rows
                tell both, so that padding has no say.
        """
        removed, kept = (place.float() for place in self.positions())
        factor = weight * self._spread(self.kept.float()) / self._spread(kept).clamp(min=1e-6)
        return replace(
            self,
            removed=_beside(self.removed, removed, factor, self.removed_lengths),
            kept=_beside(self.kept, kept, factor, self.kept_lengths),
        )

    def _spread(self, kept: Tensor) -> Tensor:
        """`(items,)`: the root mean square distance of an item's kept rows from their mean."""
        variances = [
            (rows - rows.mean(1, keepdim=True)).square().sum((1, 2)) / max(1, rows.shape[1])
            for rows in ops.equal_runs(kept, self.kept_lengths)
        ]
        return torch.cat(variances).sqrt()


Reconstructor = Callable[[Partition, int], Neighbors]
"""`(partition, num_neighbors) -> neighbours`: which kept rows each removed row follows, and with
which weights.
"""


def mean(partition: Partition, num_neighbors: int) -> Neighbors:
    """The published rule (paper, section 3.2): the plain mean of the nearest kept rows."""
    return partition.nearest(num_neighbors)


def linear(partition: Partition, num_neighbors: int) -> Neighbors:
    """The combination of the nearest kept rows, by features and position, that is nearest.

    As in Locally Linear Embedding (Roweis and Saul, 2000), weights sum to 1 and may be negative;
    they solve `(Z Z^T + ridge) w = 1`, with the neighbours' offsets `Z` from the removed row.
    """
    located = partition.located(POSITION_WEIGHT)
    return _solved(located, located.nearest(num_neighbors))


def none(partition: Partition, num_neighbors: int) -> Neighbors:
    """The ablation: no neighbours, so that removed patches stay as they were when removed."""
    return Neighbors(partition.kept.new_zeros(len(partition.removed), 0).long())


RECONSTRUCTORS: dict[str, Reconstructor] = {"mean": mean, "linear": linear, "none": none}


def _solved(partition: Partition, neighbors: Neighbors) -> Neighbors:
    """The same neighbours with locally linear weights."""
    indices, present = neighbors.indices, torch.ones_like(neighbors.indices, dtype=torch.bool)
    if neighbors.weights is not None:
        present = neighbors.weights > 0
    num_rows, width = indices.shape
    per_row = 4 * width * (partition.kept.shape[1] + width)
    step = max(1, ops.NEIGHBOR_MEMORY_BUDGET // per_row)
    weights = partition.kept.new_empty(num_rows, width, dtype=torch.float32)
    for first in range(0, num_rows, step):
        row = slice(first, first + step)
        offsets = partition.kept[indices[row]].float() - partition.removed[row, None].float()
        offsets *= present[row, :, None]
        weights[row] = _weights(offsets @ offsets.transpose(1, 2), present[row])
    return Neighbors(indices, weights)


def _weights(products: Tensor, present: Tensor) -> Tensor:
    """`(r, k)` of the products `(r, k, k)` of offsets; those with what is absent are 0."""
    diagonal, ones = products.diagonal(dim1=1, dim2=2), present.to(products.dtype)
    mean_square = diagonal.sum(1, keepdim=True) / ones.sum(1, keepdim=True)
    diagonal += (RIDGE * mean_square).clamp(min=NEARLY_ZERO)
    weights: Tensor = torch.linalg.solve_ex(products, ones).result
    return weights / weights.sum(1, keepdim=True)


def _beside(rows: Tensor, places: Tensor, factor: Tensor, lengths: Sequence[int]) -> Tensor:
    """Rows `(N, C)` with places `(N, 3)`, times a `factor (items,)`, as more features."""
    runs, first = [], 0
    for place in ops.equal_runs(places, lengths):
        own = factor[first : first + len(place), None, None]
        runs.append((place * own).flatten(0, 1))
        first += len(place)
    return torch.cat([rows.float(), torch.cat(runs)], dim=1)
