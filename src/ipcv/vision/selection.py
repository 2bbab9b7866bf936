"""Which rows of an encoder call belong together, which are kept, and how to rebuild the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ipcv.core import ops
from ipcv.core.config import IPCV
from ipcv.core.memo import Memo
from ipcv.vision.neighbors import Frames, Reconstruction
from ipcv.vision.reconstruction import RECONSTRUCTORS, Split
from ipcv.vision.selectors import SELECTORS


@dataclass(frozen=True)
class Layout:
    """Which of the `N` flattened rows of one encoder call belong together, as host integers.

    Attributes:
        item_lengths: rows per item (image or video), in order.
        group_lengths: rows per selection group; groups subdivide items. Where the hidden states
            must stay rectangular (tiles of one image) a group is one tile, else an item.
        protected: rows at the start of each group that are always kept (CLS, registers).
        rectangular: whether all groups have the same length and must carry equally many rows.
        padding: `(N,)` bool, the rows that hold no patch: never kept, never anybody's neighbour.
        padding_lengths: how many rows of each group those are; empty without padding.
        positions: gives `(N, 3)` int64 on the device: frame or tile, row and column of the patch.
        order: gives `(N,)`, for each row the input row it holds, where the encoder permutes rows.
        frames: frames per item, whose rows follow each other; empty where items have none.
    """

    item_lengths: tuple[int, ...]
    group_lengths: tuple[int, ...]
    positions: Callable[[], Tensor]
    protected: int = 0
    rectangular: bool = False
    padding: Tensor | None = None
    padding_lengths: tuple[int, ...] = ()
    order: Callable[[], Tensor] | None = None
    frames: tuple[int, ...] = ()

    @property
    def filled_lengths(self) -> list[int]:
        """Rows per group without padding."""
        padding = self.padding_lengths or (0,) * len(self.group_lengths)
        return [length - pad for length, pad in zip(self.group_lengths, padding, strict=True)]

    def merged(self) -> Layout:
        """All items as one, for `scope="batch"`; rectangular groups stay."""
        everything = (sum(self.item_lengths),)
        groups = self.group_lengths if self.rectangular else everything
        return replace(self, item_lengths=everything, group_lengths=groups, frames=())

    def keep_counts(self, reduction_ratio: float) -> list[int]:
        """Rows to keep per group, protected rows included."""
        return [
            min(length, self.protected + ops.keep_count(length - self.protected, reduction_ratio))
            for length in self.filled_lengths
        ]

    def per_item(self, group_values: Sequence[int]) -> list[int]:
        """Sums over the groups of each item."""
        ends = {end: i for i, end in enumerate(accumulate(self.group_lengths), start=1)}
        splits = [0, *(ends[end] for end in accumulate(self.item_lengths))]
        return [sum(group_values[a:b]) for a, b in pairwise(splits)]

    def rank(self, scores: Tensor) -> Tensor:
        """Scores `(N,)` with protected rows raised above, and padding sunk below, all others."""
        if self.padding is not None:
            scores = scores.masked_fill(self.padding, -torch.inf)
        if self.protected:
            scores.view(len(self.group_lengths), -1)[:, : self.protected] = torch.inf
        return scores


class Choice(NamedTuple):
    """Which rows are kept.

    Attributes:
        layout: which rows belong together.
        counts: kept rows per group of the layout.
        kept, removed: `(K,)`, `(R,)` int64 row indices, ascending. Padding counts as removed.
    """

    layout: Layout
    counts: list[int]
    kept: Tensor
    removed: Tensor

    @property
    def keeps_all(self) -> bool:
        """Whether there is nothing to do."""
        return self.counts == self.layout.filled_lengths


def choose(previous: Tensor, rows: Tensor, layout: Layout, method: IPCV) -> Choice:
    """Choose the rows to keep (paper, section 3.1).

    Args:
        previous: `(N, C)` input of block `prune_layer - 1`; `rows` where that is 0.
        rows: `(N, C)` input of block `prune_layer`.
        layout: which rows belong together.
        method: the settings.
    """
    counts = layout.keep_counts(method.reduction_ratio)
    scores = layout.rank(SELECTORS[method.selector](previous, rows, layout))
    return Choice(layout, counts, *ops.select_top(scores, layout.group_lengths, counts))


@dataclass
class Selection(Memo):
    """Which rows go on, and how to rebuild the others; and what blocks compute from that once.

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
    def of(cls, choice: Choice, rows: Tensor, method: IPCV) -> Selection:
        """Prepare the rebuilding of the removed ones of the rows `(N, C)` (section 3.2)."""
        layout, counts, kept, removed = choice
        kept_lengths = layout.per_item(counts)
        removed_lengths = [n - k for n, k in zip(layout.item_lengths, kept_lengths, strict=True)]

        def positions() -> tuple[Tensor, Tensor]:
            places = layout.positions()
            return places[removed], places[kept]

        frames = None
        if layout.frames and method.neighbor_scope == "frames":
            frames = Frames(layout.frames, removed, kept)
        parts = rows[removed], rows[kept]
        split = Split(*parts, removed_lengths, kept_lengths, positions, frames)
        neighbors = RECONSTRUCTORS[method.reconstruction](split, method.num_neighbors)
        return cls(*choice, Reconstruction(split.removed, split.kept, neighbors))

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
