"""What a compressed model did, kept as device tensors and host integers until somebody asks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ipcv.selection import Layout

HISTORY = 64
"""How many of the latest encoder calls are remembered."""


@dataclass(frozen=True)
class ItemStats:
    """One image or video in one encoder call; CLS, registers and padding are not counted.

    Attributes:
        patches: patches that came in.
        kept: patches that went through every block.
        tokens_per_block: for each block, the patches that queries and MLP ran on.
        keys_per_block: for each block, the patches that served as keys and values.
    """

    patches: int
    kept: int
    tokens_per_block: tuple[int, ...]
    keys_per_block: tuple[int, ...]


@dataclass(frozen=True)
class EncoderCall:
    """One forward of the vision encoder.

    Attributes:
        layout: its items and groups.
        counts: rows kept per group.
        kept_rows: `(K,)` the kept rows, ascending, on the encoder's device.
        depth, prune_layer, stabilized: blocks in all, before pruning, and with stabilization.
    """

    layout: Layout
    counts: tuple[int, ...]
    kept_rows: Tensor
    depth: int
    prune_layer: int
    stabilized: int

    @cached_property
    def items(self) -> tuple[ItemStats, ...]:
        """Host integers only."""
        layout = self.layout
        fixed = layout.per_item([layout.protected] * len(self.counts))
        filled, kept = layout.per_item(layout.filled_lengths), layout.per_item(self.counts)
        return tuple(
            self._item(patches - f, count - f)
            for patches, count, f in zip(filled, kept, fixed, strict=True)
        )

    def _item(self, patches: int, kept: int) -> ItemStats:
        full_keys = self.prune_layer + self.stabilized
        return ItemStats(
            patches,
            kept,
            (patches,) * self.prune_layer + (kept,) * (self.depth - self.prune_layer),
            (patches,) * full_keys + (kept,) * (self.depth - full_keys),
        )

    @cached_property
    def kept_indices(self) -> list[Tensor]:
        """Per item the kept patches, ascending, numbered as the encoder's input orders them.

        Reading it waits for the device. Int64 on the CPU; protected tokens are not counted, padding
        is.
        """
        layout = self.layout
        kept = torch.zeros(sum(layout.item_lengths), dtype=torch.bool)
        kept[self.kept_rows.cpu()] = True
        if layout.order is not None:
            kept = torch.empty_like(kept).index_copy_(0, layout.order().cpu(), kept)
        patches = [group[layout.protected :] for group in kept.split(list(layout.group_lengths))]
        lengths = layout.per_item([len(group) for group in patches])
        return [item.nonzero().flatten() for item in torch.cat(patches).split(lengths)]


class Stats:
    """The latest encoder calls of a compressed model, oldest first. Iterable; prints as a table."""

    def __init__(self) -> None:
        self._calls: deque[EncoderCall] = deque(maxlen=HISTORY)

    def add(self, call: EncoderCall) -> None:
        """Remember a call; forget the oldest beyond `HISTORY`."""
        self._calls.append(call)

    @property
    def calls(self) -> tuple[EncoderCall, ...]:
        """The remembered calls, oldest first."""
        return tuple(self._calls)

    def __iter__(self) -> Iterator[EncoderCall]:
        return iter(self.calls)

    def __len__(self) -> int:
        return len(self._calls)

    def __str__(self) -> str:
        if not self._calls:
            return "no encoder call yet"
        lines = [f"{'call':>4} {'item':>4} {'patches':>8} {'kept':>8}  patches per block"]
        for number, call in enumerate(self.calls):
            for index, item in enumerate(call.items):
                blocks = " ".join(map(str, item.tokens_per_block))
                lines.append(f"{number:>4} {index:>4} {item.patches:>8} {item.kept:>8}  {blocks}")
        return "\n".join(lines)
