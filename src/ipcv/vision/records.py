"""Records of what happened in calls of the vision encoder, kept on the device until read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ipcv.vision.layout import Layout


@dataclass(frozen=True)
class ItemStats:
    """One image or video in one encoder call; CLS, registers and padding are not counted.

    Attributes:
        patches: patches that came in.
        kept: patches that went through every block.
        tokens_per_block: for each block, the patches that its MLP ran on.
        keys_per_block: for each block, the patches that served as keys and values.
    """

    patches: int
    kept: int
    tokens_per_block: tuple[int, ...]
    keys_per_block: tuple[int, ...]


class EncoderCall(ABC):
    """One forward of the vision encoder."""

    @property
    @abstractmethod
    def items(self) -> Sequence[ItemStats]:
        """One per image or video. Reading it may wait for the device."""

    @property
    @abstractmethod
    def kept_indices(self) -> list[Tensor]:
        """Per item the kept patches, ascending, numbered as the encoder's input orders them.

        Int64 on the CPU; reading it waits for the device. Protected tokens are not counted, padding
        is. Raises `RuntimeError` where every block goes on with other ones.
        """


Record = Callable[[EncoderCall], None]
"""Whoever keeps the records."""


@dataclass(frozen=True)
class PrunedCall(EncoderCall):
    """A call in which rows were pruned for good.

    Attributes:
        layout: its items and groups.
        kept_rows: `(K,)` the rows that went through all blocks, ascending, on the encoder's device.
    """

    layout: Layout
    kept_rows: Tensor

    @cached_property
    def _is_kept(self) -> Tensor:
        """`(N,)` bool on the CPU."""
        is_kept = torch.zeros(sum(self.layout.item_lengths), dtype=torch.bool)
        return is_kept.index_fill_(0, self.kept_rows.cpu(), True)

    def _patches(self, counts: Sequence[int]) -> list[int]:
        """Per item, of rows per group, those that are not protected."""
        return self.layout.per_item([count - self.layout.protected for count in counts])

    @cached_property
    def kept_indices(self) -> list[Tensor]:
        """As for every call."""
        layout, kept = self.layout, self._is_kept
        if layout.order is not None:
            kept = torch.empty_like(kept).index_copy_(0, layout.order().cpu(), kept)
        patches = [group[layout.protected :] for group in kept.split(list(layout.group_lengths))]
        lengths = layout.per_item([len(group) for group in patches])
        return [item.nonzero().flatten() for item in torch.cat(patches).split(lengths)]


@dataclass(frozen=True)
class OneStepCall(PrunedCall):
    """A call in which rows were pruned once.

    Attributes:
        known_counts: rows kept per group, where the settings tell; `None` where all items competed.
        depth, prune_layer, stabilized: blocks in all, before pruning, and with stabilization.
    """

    known_counts: tuple[int, ...] | None
    depth: int
    prune_layer: int
    stabilized: int

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Rows kept per group. Reading it waits for the device where all items competed."""
        if self.known_counts is not None:
            return self.known_counts
        groups = self._is_kept.split(list(self.layout.group_lengths))
        return tuple(int(group.sum()) for group in groups)

    @cached_property
    def items(self) -> tuple[ItemStats, ...]:
        """One per image or video. Waits for the device where `counts` does."""
        filled, kept = self._patches(self.layout.filled_lengths), self._patches(self.counts)
        return tuple(map(self._item, filled, kept))

    def _item(self, patches: int, kept: int) -> ItemStats:
        full_keys = self.prune_layer + self.stabilized
        return ItemStats(
            patches,
            kept,
            (patches,) * self.prune_layer + (kept,) * (self.depth - self.prune_layer),
            (patches,) * full_keys + (kept,) * (self.depth - full_keys),
        )


@dataclass(frozen=True)
class StepsCall(PrunedCall):
    """A call in which rows were pruned in steps.

    Attributes:
        counts: rows per group in each block.
    """

    counts: tuple[tuple[int, ...], ...]

    @cached_property
    def items(self) -> tuple[ItemStats, ...]:
        """One per image or video."""
        patches = self._patches(self.layout.filled_lengths)
        blocks = zip(*map(self._patches, self.counts), strict=True)
        return tuple(ItemStats(n, b[-1], b, b) for n, b in zip(patches, blocks, strict=True))


@dataclass(frozen=True)
class EveryBlockCall(EncoderCall):
    """A call in which tokens got fewer from block to block.

    Attributes:
        item_lengths: rows per image or video.
        tokens: per attention segment its tokens before each block, and behind them all.
        protected: of these, how many at the start are no patches.
    """

    item_lengths: tuple[int, ...]
    tokens: tuple[tuple[int, ...], ...]
    protected: int

    @cached_property
    def items(self) -> tuple[ItemStats, ...]:
        """One per image or video."""
        segments = iter(self.tokens)
        return tuple(self._item(length, segments) for length in self.item_lengths)

    def _item(self, length: int, segments: Iterator[tuple[int, ...]]) -> ItemStats:
        own: list[tuple[int, ...]] = []
        while sum(segment[0] for segment in own) < length:
            own.append(next(segments))
        patches = [sum(n) - self.protected * len(own) for n in zip(*own, strict=True)]
        return ItemStats(patches[0], patches[-1], tuple(patches[1:]), tuple(patches[:-1]))

    @property
    def kept_indices(self) -> list[Tensor]:
        """Raises `RuntimeError`: every block has others."""
        raise RuntimeError("every block goes on with fewer patches: there are no kept indices")
