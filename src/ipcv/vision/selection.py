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
class Step:
    """One removal.

    Attributes:
        kept, removed: `(K,)`, `(R,)` int64, ascending: places among the rows that there were.
        reconstruct: gives the removed rows `(R, C)` from the kept ones `(K, C)`.
    """

    kept: Tensor
    removed: Tensor
    reconstruct: Reconstruction

    def merge(self, kept: Tensor, removed: Tensor) -> Tensor:
        """All rows `(N, C)` in their original order."""
        return ops.merge_rows(kept, removed, self.kept, self.removed)

    def to(self, device: torch.device) -> None:
        """Follow a model whose blocks are split over devices."""
        self.kept, self.removed = self.kept.to(device), self.removed.to(device)
        self.reconstruct.to(device)


@dataclass
class Selection(Memo):
    """The rows that go on, how to rebuild the others, and what blocks compute from that once.

    Attributes:
        layout: which of all rows belong together.
        counts: kept rows per group of the layout.
        kept: `(K,)` int64 row indices, ascending.
        steps: removals, each among the rows that the one before it kept.
        sizes: `(K,)` fp32, how many patches a kept row counts for in attention; `None`: one.
    """

    layout: Layout
    counts: list[int]
    kept: Tensor
    steps: tuple[Step, ...]
    sizes: Tensor | None = None

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
        rebuilt = Reconstruction(partition.removed, partition.kept, neighbors)
        return cls(layout, counts, kept, (Step(kept, removed, rebuilt),))

    def then(self, inner: Selection) -> Selection:
        """What is left when some of the kept rows `(K, C)` go; `inner` selects among these."""
        kept, steps = self.kept[inner.kept], self.steps + inner.steps
        return Selection(self.layout, inner.counts, kept, steps, inner.sizes)

    def remaining(self) -> Layout:
        """The layout of the kept rows."""
        return Layout(
            item_lengths=tuple(self.layout.per_item(self.counts)),
            group_lengths=tuple(self.counts),
            positions=lambda: self.layout.positions()[self.kept],
            protected=self.layout.protected,
        )

    @property
    def bias(self) -> Tensor | None:
        """`(K,)` fp32, what sizes add to the products of queries and keys (ToMe, eq. 1)."""
        if (sizes := self.sizes) is None:
            return None
        return self.once("bias", sizes, compute=sizes.log)

    def restore(self, kept: Tensor) -> Tensor:
        """All rows `(N, C)`, the removed ones rebuilt from the kept ones `(K, C)`."""
        for step in reversed(self.steps):
            kept = step.merge(kept, step.reconstruct(kept))
        return kept

    def to(self, device: torch.device) -> None:
        """Follow a model whose blocks are split over devices."""
        if self.kept.device != device:
            self.kept = self.kept.to(device)
            self.sizes = None if self.sizes is None else self.sizes.to(device)
            for step in self.steps:
                step.to(device)
            self.forget()
