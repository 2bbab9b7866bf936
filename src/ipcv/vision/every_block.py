"""Fewer tokens from block to block of an encoder, and all of them again after the last."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from ipcv.core.arguments import Arguments
from ipcv.core.ops import full_precision
from ipcv.vision.adapters.base import EncoderAdapter, TokenAdapter, attention_dropout, scaling
from ipcv.vision.engine import EncoderState, VisionEngine
from ipcv.vision.method import VisionMethod
from ipcv.vision.records import EveryBlockCall, Record
from ipcv.vision.tokens import TokenRun, Tokens, proportional_attention


class EveryBlockMethod(VisionMethod):
    """Settings of a method that takes tokens out in every block, and what it makes of them."""

    @abstractmethod
    def removed_per_block(self, patches: int, depth: int) -> list[int]:
        """How many of so many patches of a segment each of `depth` blocks takes out."""

    @abstractmethod
    def start(self, lengths: tuple[int, ...], protected: int, rows: Tensor) -> TokenRun:
        """The run of all rows; arguments as `TokenRun` has them."""

    def engine(self, adapter: EncoderAdapter, record: Record) -> EveryBlockEngine:
        """As for every method. Raises `ValueError` where the tokens must stay as many."""
        name, encoder = type(self).__name__, type(adapter.encoder).__name__
        if not isinstance(adapter, TokenAdapter):
            raise ValueError(f"{name} does not work in a {encoder}, whose heads are not at hand")
        if adapter.obstacle:
            raise ValueError(f"{name} does not work in a {encoder}: {adapter.obstacle}")
        return EveryBlockEngine(adapter, self, record)


@dataclass
class _State(EncoderState):
    """State of one forward of the encoder.

    Attributes:
        runs: the tokens, in order; empty before the first block.
        carried: the tokens `(N', C)`, where the next block's input is full length instead.
        attended: `(N', heads * D)`, the running block's attention for the tokens that go on.
    """

    runs: list[TokenRun] = field(default_factory=list)
    carried: Tensor | None = None
    attended: Tensor | None = None

    def to(self, device: torch.device) -> None:
        for run in self.runs:
            run.to(device)


class EveryBlockEngine(VisionEngine[_State]):
    """Runs a method that takes tokens out block by block.

    A block wants one input, which it norms, attends and adds the result to. Here the keys that
    decide which tokens go on must be known first, so attention runs ahead of the block, with all
    tokens. As all that happens to tokens is linear, it can happen to the block's input before the
    sum instead of after.
    """

    is_observable = False
    adapter: TokenAdapter

    def __init__(self, adapter: TokenAdapter, method: EveryBlockMethod, record: Record) -> None:
        super().__init__(adapter, record)
        self.method = method

    def check_call(self, arguments: Arguments) -> None:
        super().check_call(arguments)
        config = getattr(self.adapter.encoder, "config", None)
        asked = arguments.get("output_attentions")
        if asked or (asked is None and getattr(config, "output_attentions", False)):
            raise ValueError(
                f"{type(self.method).__name__} attends ahead of the blocks and has no attention "
                "maps to return: call without output_attentions"
            )

    def begin(self, context: Any, full_outputs: set[int]) -> _State:
        return _State(context, full_outputs)

    def enter(
        self, call: _State, index: int, hidden_states: Tensor, arguments: Arguments
    ) -> tuple[Tensor, Arguments] | None:
        if index == 0:
            self._start(call, hidden_states, arguments)
        if not _any_shorter(call.runs, index + 1):
            return None
        states = self.adapter.rows(hidden_states)
        if call.carried is not None:
            states, call.carried = call.carried.to(states.device), None
        inputs, call.attended = self._attended(call.runs, index, states, arguments)
        return self.adapter.like(inputs, hidden_states), arguments

    def _start(self, call: _State, hidden_states: Tensor, arguments: Arguments) -> None:
        """All tokens, each of one patch."""
        layout = self.adapter.layout(call.context, hidden_states)
        if layout.padding is not None:
            name = type(self.method).__name__
            raise ValueError(f"{name} does not work with padding: pass images of equal size")
        segments, first = self.adapter.segment_lengths(hidden_states, arguments), 0
        for length, equal in groupby(segments):
            shape = len(list(equal)), length
            rows = torch.arange(shape[0] * length, device=hidden_states.device)
            lengths = self._lengths(length, layout.protected)
            run = self.method.start(lengths, layout.protected, first + rows.view(shape))
            call.runs.append(run)
            first += len(rows)
        tokens = [run.lengths for run in call.runs for _ in range(len(run.rows))]
        self.record(EveryBlockCall(layout.item_lengths, tuple(tokens), layout.protected))

    def _lengths(self, length: int, protected: int) -> tuple[int, ...]:
        patches, lengths = length - protected, [length]
        for r in self.method.removed_per_block(patches, self._last + 1):
            lengths.append(lengths[-1] - min(r, (lengths[-1] - protected) // 2))
        return tuple(lengths)

    def _attended(
        self, runs: list[TokenRun], index: int, states: Tensor, arguments: Arguments
    ) -> tuple[Tensor, Tensor]:
        """The block's input `(N', C)` and attention `(N', heads * D)`, of the tokens that go on."""
        block = self.adapter.blocks[index]
        attention, normed = self.adapter.attention(block), self.adapter.norm(block)(states)
        rows = torch.cat([run.rows.flatten() for run in runs])
        parts = [states, *self.adapter.heads(attention, normed, arguments, rows)]
        attend = partial(proportional_attention, scaling(attention), attention_dropout(attention))
        pairs = []
        for run in runs:
            before, after = run.lengths[index : index + 2]
            tokens, parts = run.split_off(parts, before)
            with full_precision(states.device):
                pair = run.shrink(Tokens(*tokens), before - after, attend)
            pairs.append([x.flatten(0, 1) for x in pair])
        inputs, attended = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        return inputs, attended

    def attend(self, call: _State, index: int, hidden_states: Tensor) -> Any:
        """What was attended ahead of the block."""
        if call.attended is None:
            return None
        attended, call.attended = call.attended.to(hidden_states.device), None
        attention = self.adapter.attention(self.adapter.blocks[index])
        return self.adapter.project_output(attention, attended, hidden_states)

    def restore(self, call: _State, index: int, states: Tensor) -> Tensor | None:
        """A state for every row; the tokens alone go on to the next block."""
        if not _any_shorter(call.runs, index + 1):
            return None
        call.carried = self.adapter.rows(states)
        parts, full = [call.carried], []
        with full_precision(states.device):
            for run in call.runs:
                (tokens,), parts = run.split_off(parts, run.lengths[index + 1])
                full.append(run.restore(tokens).flatten(0, 1))
        return self.adapter.like(torch.cat(full), states)


def _any_shorter(runs: list[TokenRun], place: int) -> bool:
    """Whether some run has fewer tokens than rows at a place in `TokenRun.lengths`."""
    return any(run.lengths[place] < run.lengths[0] for run in runs)
