"""The rows of an encoder call that are kept, and what rebuilds the others from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ipcv.core import ops
from ipcv.core.memo import Memo
from ipcv.vision.layout import Layout
from ipcv.vision.neighbors import Frames, Reconstruction
from ipcv.vision.reconstruction import Partition, Reconstructor


class Choice(NamedTuple):
    """The rows to keep.

    Attributes:
        layout: which rows belong together.
        counts: kept rows per group of the layout.
        kept, removed: `(K,)`, `(R,)` int64 row indices, ascending. Padding counts as removed.
    """

    layout: Layout
    counts: list[int]
    kept: Tensor
    removed: Tensor

    @classmethod
    def highest(cls, scores: Tensor, layout: Layout, counts: list[int]) -> Choice:
        """Of every group as many rows with the highest scores `(N,)` as are to be kept."""
        ranked = layout.rank(scores)
        return cls(layout, counts, *ops.select_top(ranked, layout.group_lengths, counts))

    @property
    def keeps_all(self) -> bool:
        """Whether there is nothing to do."""
        return self.counts == self.layout.filled_lengths


@dataclass
class Selection(Memo):
    """The rows that go on, how to rebuild the others, and what blocks compute from that once.

    Attributes:
        layout: which rows belong together.
        counts, kept, removed: as in `Choice`.
        reconstruct: gives the removed rows `(R, C)` from the kept ones `(K, C)`.
    """

    layout: Layout
    counts: list[int]
    kept: Tensor
    removed: Tensor
    reconstruct: Reconstruction

    @classmethod
    def of(
        cls,
        choice: Choice,
        rows: Tensor,
        reconstructor: Reconstructor,
        num_neighbors: int,
        by_frames: bool = False,
    ) -> Selection:
        """Prepare the rebuilding of the removed ones of the rows `(N, C)` (paper, section 3.2).

        Args:
            choice: of these rows.
            rows: the input of the block that prunes.
            reconstructor: gives a removed row's neighbours.
            num_neighbors: how many it is asked for.
            by_frames: whether rows of a video look for them in the frames around their own.
        """
        layout, counts, kept, removed = choice
        kept_lengths = layout.per_item(counts)
        removed_lengths = [n - k for n, k in zip(layout.item_lengths, kept_lengths, strict=True)]

        def positions() -> tuple[Tensor, Tensor]:
            places = layout.positions()
            return places[removed], places[kept]

        frames = Frames(layout.frames, removed, kept) if layout.frames and by_frames else None
        parts = rows[removed], rows[kept]
        partition = Partition(*parts, removed_lengths, kept_lengths, positions, frames)
        neighbors = reconstructor(partition, num_neighbors)
        return cls(*choice, Reconstruction(partition.removed, partition.kept, neighbors))

    def merge(self, kept: Tensor, removed: Tensor) -> Tensor:
        """All rows `(N, C)` in their original order."""
        return ops.merge_rows(kept, removed, self.kept, self.removed)

    def restore(self, kept: Tensor) -> Tensor:
        """All rows `(N, C)`, the removed ones rebuilt from the kept ones `(K, C)`."""
        return self.merge(kept, self.reconstruct(kept))

    def to(self, device: torch.device) -> None:
        """Follow a model whose blocks are split over devices."""
        if self.kept.device != device:
            self.kept, self.removed = self.kept.to(device), self.removed.to(device)
            self.reconstruct.to(device)
            self.forget()
