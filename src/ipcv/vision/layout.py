"""The layout of one encoder call: which of its rows belong together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from ipcv.core import ops


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

    def by_frames(self) -> Layout:
        """Every frame of a video as a group of its own."""
        if not any(number > 1 for number in self.frames):
            return self
        lengths = zip(self.item_lengths, self.frames, strict=True)
        groups = [length // number for length, number in lengths for _ in range(number)]
        return replace(self, group_lengths=tuple(groups))

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
