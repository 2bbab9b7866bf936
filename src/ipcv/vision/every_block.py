"""Fewer tokens in every block of any encoder, by hooks; all of them again after the last."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from ipcv.core.arguments import Arguments, bind
from ipcv.core.hooks import Hooked, Method, states_of, with_states
from ipcv.stats import ProgressiveCall, Stats
from ipcv.vision.adapters.base import EncoderAdapter, scaling
from ipcv.vision.tokens import ProgressiveMethod, Run, Tokens


@dataclass
class _Call:
    """State of one forward of the encoder.

    Attributes:
        context: what the adapter read from the encoder's arguments.
        full_outputs: blocks whose output must have all rows.
        runs: the tokens, in order; empty before the first block.
        carried: the tokens `(N', C)`, where the next block's input is full length instead.
        attended: `(N', heads * D)`, the running block's attention for the tokens that go on.
    """

    context: Any
    full_outputs: set[int]
    runs: list[Run] = field(default_factory=list)
    carried: Tensor | None = None
    attended: Tensor | None = None


class ProgressiveEngine(Hooked[_Call]):
    """Takes tokens out of one encoder, block by block. State is per call and per thread.

    A block wants one input, which it norms, attends and adds the result to. Here the keys that
    decide which tokens go on must be known first, so attention runs ahead of the block, with all
    tokens. As all that happens to tokens is linear, it can happen to the block's input before the
    sum instead of after.

    Args:
        adapter: the vision encoder; must be one that `can_merge`.
        method: the settings.
        stats: receives one record per encoder call.
    """

    def __init__(self, adapter: EncoderAdapter, method: ProgressiveMethod, stats: Stats) -> None:
        super().__init__()
        self.adapter, self.method, self.stats = adapter, method, stats
        self._last = len(adapter.blocks) - 1

    def attach(self) -> None:
        """Install the hooks."""
        self._hooks.surround(self.adapter.encoder, "forward", self._opened)
        for index, block in enumerate(self.adapter.blocks):
            attention = self.adapter.attention(block)
            self._hooks.replace(block, "forward", partial(self._block, index))
            self._hooks.replace(attention, "forward", partial(self._attention, attention))

    @contextmanager
    def _opened(self, arguments: Arguments) -> Iterator[None]:
        full_outputs = self.adapter.full_length_outputs(arguments) | {self._last}
        with self._running(_Call(self.adapter.open(arguments, ()), full_outputs)):
            yield

    def _start(self, call: _Call, arguments: Arguments) -> None:
        """All tokens, each of one patch, and those of them that the first block gets."""
        hidden_states: Tensor = arguments["hidden_states"]
        layout = self.adapter.layout(call.context, hidden_states)
        if layout.padding is not None:
            name = type(self.method).__name__
            raise ValueError(f"{name} does not work with padding: pass images of equal size")
        segments, first, device = self.adapter.segment_lengths(arguments), 0, hidden_states.device
        positions = cache(layout.positions)
        for length, equal in groupby(segments):
            shape = len(list(equal)), length
            rows = first + torch.arange(shape[0] * length, device=device).view(shape)
            lengths = self._lengths(length, layout.protected)
            call.runs.append(self.method.start(lengths, layout.protected, rows, positions))
            first += rows.numel()
        tokens = [run.lengths for run in call.runs for _ in range(len(run.rows))]
        self.stats.add(ProgressiveCall(layout.item_lengths, tuple(tokens), layout.protected))
        if any(run.lengths[1] < run.lengths[0] for run in call.runs):
            states = self.adapter.rows(hidden_states)
            call.carried = torch.cat(
                [run.begin(states[run.rows]).flatten(0, 1) for run in call.runs]
            )

    def _lengths(self, length: int, protected: int) -> tuple[int, ...]:
        patches, lengths = length - protected, [length]
        before, in_blocks = self.method.removed_before, self.method.removed_per_block
        for r in (before(patches), *in_blocks(patches, self._last + 1)):
            lengths.append(lengths[-1] - min(r, (lengths[-1] - protected) // 2))
        return tuple(lengths)

    def _block(self, index: int, original: Method) -> Method:
        signature = inspect.signature(original)

        def forward(*args: Any, **kwargs: Any) -> Any:
            call = self._call
            if call is None:
                return original(*args, **kwargs)
            arguments = bind(signature, args, kwargs)
            if index == 0:
                self._start(call, arguments)
            if all(run.lengths[index + 2] == run.lengths[0] for run in call.runs):
                return original(*args, **kwargs)
            hidden_states = arguments.pop("hidden_states")
            states = self.adapter.rows(hidden_states) if call.carried is None else call.carried
            call.carried = None
            inputs, call.attended = self._attend(call.runs, index, states, arguments)
            output = original(self.adapter.like(inputs, hidden_states), **arguments)
            return self._full_length(call, index, output) if index in call.full_outputs else output

        return forward

    def _attend(
        self, runs: list[Run], index: int, states: Tensor, arguments: Arguments
    ) -> tuple[Tensor, Tensor]:
        """The block's input `(N', C)` and attention `(N', heads * D)`, of the tokens that go on."""
        block = self.adapter.blocks[index]
        attention, normed = self.adapter.attention(block), self.adapter.norm(block)(states)
        rows = torch.cat([run.rows.flatten() for run in runs])
        parts = [states, normed, *self.adapter.heads(attention, normed, arguments, rows)]
        pairs = []
        for run in runs:
            before, after = run.lengths[index + 1 : index + 3]
            tokens, parts = run.split_off(parts, before)
            pair = run.shrink(Tokens(*tokens), before - after, scaling(attention))
            pairs.append([x.flatten(0, 1) for x in pair])
        inputs, attended = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        return inputs, attended

    def _attention(self, attention: nn.Module, original: Method) -> Method:
        def forward(*args: Any, **kwargs: Any) -> Any:
            call = self._call
            if call is None or call.attended is None:
                return original(*args, **kwargs)
            attended, call.attended = call.attended, None
            return self.adapter.project_output(
                attention, attended, args[0] if args else kwargs["hidden_states"]
            )

        return forward

    def _full_length(self, call: _Call, index: int, output: Any) -> Any:
        """The block's output with a state for every row."""
        states = states_of(output)
        call.carried = self.adapter.rows(states)
        parts, full = [call.carried], []
        for run in call.runs:
            (tokens,), parts = run.split_off(parts, run.lengths[index + 2])
            full.append(run.restore(tokens).flatten(0, 1))
        return with_states(output, self.adapter.like(torch.cat(full), states))
