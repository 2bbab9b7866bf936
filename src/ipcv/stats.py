"""What a compressed model did, kept as device tensors and host integers until somebody asks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ipcv.language.layout import PromptLayout
from ipcv.vision.selection import Layout

HISTORY = 64
"""How many of the latest encoder calls, and of the latest prefills, are remembered."""


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


@dataclass(frozen=True)
class EncoderCall:
    """One forward of the vision encoder.

    Attributes:
        layout: its items and groups.
        known_counts: rows kept per group, where the settings tell; `None` where all items competed.
        kept_rows: `(K,)` the kept rows, ascending, on the encoder's device.
        depth, prune_layer, stabilized: blocks in all, before pruning, and with stabilization.
    """

    layout: Layout
    known_counts: tuple[int, ...] | None
    kept_rows: Tensor
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
    def _is_kept(self) -> Tensor:
        """`(N,)` bool on the CPU."""
        is_kept = torch.zeros(sum(self.layout.item_lengths), dtype=torch.bool)
        return is_kept.index_fill_(0, self.kept_rows.cpu(), True)

    @cached_property
    def items(self) -> tuple[ItemStats, ...]:
        """One per image or video. Waits for the device where `counts` does."""
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
        layout, kept = self.layout, self._is_kept
        if layout.order is not None:
            kept = torch.empty_like(kept).index_copy_(0, layout.order().cpu(), kept)
        patches = [group[layout.protected :] for group in kept.split(list(layout.group_lengths))]
        lengths = layout.per_item([len(group) for group in patches])
        return [item.nonzero().flatten() for item in torch.cat(patches).split(lengths)]


@dataclass(frozen=True)
class ProgressiveCall:
    """One forward of a vision encoder that takes out tokens block by block.

    Attributes:
        item_lengths: rows per image or video.
        tokens: per attention segment its rows, its tokens before each block, and behind them all.
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
        return ItemStats(patches[0], patches[-1], tuple(patches[2:]), tuple(patches[1:-1]))

    @property
    def kept_indices(self) -> list[Tensor]:
        """Raises `RuntimeError`: every block has others."""
        raise RuntimeError("every block goes on with fewer patches: there are no kept indices")


VisionCall = EncoderCall | ProgressiveCall


@dataclass(frozen=True)
class Prefill:
    """One forward of the language model with images in it; padding is not counted.

    Attributes:
        prompt: all its tokens.
        layouts: per layer, the tokens that it carries.
        columns: per layer, `(B, L)` the columns of the prompt that it carries, -1 for none, on the
            device; `None` for all.
        windows: per layer, how many of the latest tokens it attends, `None` for all.
        token_bytes: of the keys and values of one token in one layer; 0 without a cache.
    """

    prompt: PromptLayout
    layouts: tuple[PromptLayout, ...]
    columns: tuple[Tensor | None, ...]
    windows: tuple[int | None, ...]
    token_bytes: int

    @cached_property
    def tokens_per_layer(self) -> tuple[int, ...]:
        """Tokens of all rows that each layer carries."""
        return tuple(sum(layout.real) for layout in self.layouts)

    @cached_property
    def image_tokens_per_layer(self) -> tuple[int, ...]:
        """Those of them that belong to images and videos."""
        return tuple(sum(run.length for run in layout.runs) for layout in self.layouts)

    @cached_property
    def kv_bytes(self) -> int:
        """Keys and values that this prefill added to the cache."""
        return self._kv_bytes(self.layouts)

    @cached_property
    def kv_bytes_saved(self) -> int:
        """How much more it would have been with all tokens."""
        return self._kv_bytes((self.prompt,) * len(self.layouts)) - self.kv_bytes

    def _kv_bytes(self, layouts: tuple[PromptLayout, ...]) -> int:
        columns = 0
        for layout, window in zip(layouts, self.windows, strict=True):
            held = layout.width if window is None else min(layout.width, window - 1)
            columns += len(layout.real) * held
        return columns * self.token_bytes

    @cached_property
    def kept_indices(self) -> list[Tensor]:
        """Per image the tokens that the last layer carries, numbered from the image's first.

        Int64 `(kept,)` on the CPU, row by row. Reading it waits for the device.
        """
        runs, columns = self.prompt.runs, self.columns[-1]
        if columns is None:
            return [torch.arange(run.length) for run in runs]
        indices = [(columns[run.row].cpu() - run.start, run.length) for run in runs]
        return [index[(index >= 0) & (index < length)] for index, length in indices]


class Stats:
    """What was pruned lately. Iterates over encoder calls, oldest first; prints as a table."""

    def __init__(self) -> None:
        self._calls: deque[VisionCall] = deque(maxlen=HISTORY)
        self._prefills: deque[Prefill] = deque(maxlen=HISTORY)

    def add(self, call: VisionCall) -> None:
        """Remember an encoder call; forget the oldest beyond `HISTORY`."""
        self._calls.append(call)

    def add_prefill(self, prefill: Prefill) -> None:
        """Remember a prefill; forget the oldest beyond `HISTORY`."""
        self._prefills.append(prefill)

    @property
    def calls(self) -> tuple[VisionCall, ...]:
        """The remembered encoder calls, oldest first."""
        return tuple(self._calls)

    @property
    def prefills(self) -> tuple[Prefill, ...]:
        """The remembered prefills of the language model, oldest first."""
        return tuple(self._prefills)

    def __iter__(self) -> Iterator[VisionCall]:
        return iter(self.calls)

    def __len__(self) -> int:
        return len(self._calls)

    def __bool__(self) -> bool:
        return bool(self._calls or self._prefills)

    def __str__(self) -> str:
        tables = [self._encoder_table()] if self._calls else []
        tables += [self._prefill_table()] if self._prefills else []
        return "\n\n".join(tables) or "nothing was pruned yet"

    def _encoder_table(self) -> str:
        lines = [f"{'call':>4} {'item':>4} {'patches':>8} {'kept':>8}  patches per block"]
        for number, call in enumerate(self.calls):
            for index, item in enumerate(call.items):
                blocks = " ".join(map(str, item.tokens_per_block))
                lines.append(f"{number:>4} {index:>4} {item.patches:>8} {item.kept:>8}  {blocks}")
        return "\n".join(lines)

    def _prefill_table(self) -> str:
        lines = [f"{'prefill':>7} {'KV MB':>8} {'saved':>8}  tokens per layer"]
        for number, prefill in enumerate(self.prefills):
            layers = " ".join(map(str, prefill.tokens_per_layer))
            held, saved = prefill.kv_bytes / 1e6, prefill.kv_bytes_saved / 1e6
            lines.append(f"{number:>7} {held:>8.2f} {saved:>8.2f}  {layers}")
        return "\n".join(lines)
