"""Statistics of a compressed model, for people to read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import torch

from ipcv.language.prefill import Prefill
from ipcv.vision.records import EncoderCall

HISTORY = 64
"""How many of the latest encoder calls, and of the latest prefills, are remembered."""


class Stats:
    """What was pruned lately. Iterates over encoder calls, oldest first; prints as a table.

    Of the calls of a compiled encoder the latest alone is remembered.
    """

    def __init__(self) -> None:
        self._calls: deque[EncoderCall] = deque(maxlen=HISTORY)
        self._compiled: EncoderCall | None = None
        self._prefills: deque[Prefill] = deque(maxlen=HISTORY)

    def add(self, call: EncoderCall) -> None:
        """Remember an encoder call; forget the oldest beyond `HISTORY`."""
        if torch.compiler.is_compiling():
            self._compiled = call  # a history would be another, and a new graph, at every call
        else:
            self._calls.append(call)

    def add_prefill(self, prefill: Prefill) -> None:
        """Remember a prefill; forget the oldest beyond `HISTORY`."""
        self._prefills.append(prefill)

    @property
    def calls(self) -> tuple[EncoderCall, ...]:
        """The remembered encoder calls, oldest first."""
        return (*self._calls, *([self._compiled] if self._compiled else []))

    @property
    def prefills(self) -> tuple[Prefill, ...]:
        """The remembered prefills of the language model, oldest first."""
        return tuple(self._prefills)

    def __iter__(self) -> Iterator[EncoderCall]:
        return iter(self.calls)

    def __len__(self) -> int:
        return len(self.calls)

    def __bool__(self) -> bool:
        return bool(self.calls or self._prefills)

    def __str__(self) -> str:
        tables = [self._encoder_table()] if self.calls else []
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
