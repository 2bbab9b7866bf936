"""What a rule for rebuilding is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ipcv.core import ops
from ipcv.vision.neighbors import Frames, Neighbors, nearest_neighbors


@dataclass(frozen=True)
class Split:
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

    def located(self, weight: float) -> Split:
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
        count = ops.upload(self.kept_lengths, kept.device).clamp(min=1)[:, None]
        item = _items(self.kept_lengths, kept)
        zero = kept.new_zeros(len(count), kept.shape[1])
        mean = zero.index_add(0, item, kept) / count
        variance = zero.index_add(0, item, (kept - mean[item]).square()) / count
        return variance.sum(1).sqrt()


def _beside(rows: Tensor, places: Tensor, factor: Tensor, lengths: Sequence[int]) -> Tensor:
    return torch.cat([rows.float(), places * factor[_items(lengths, rows)][:, None]], dim=1)


def _items(lengths: Sequence[int], rows: Tensor) -> Tensor:
    """`(N,)`: the number of each row's item."""
    items = torch.arange(len(lengths), device=rows.device)
    return items.repeat_interleave(ops.upload(lengths, rows.device), output_size=len(rows))
