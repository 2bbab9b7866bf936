"""Token Merging on any encoder, by hooks: merge in every block, copy back after the last."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ipcv.arguments import Arguments, bind
from ipcv.baselines.tome import ToMe, match, merge
from ipcv.encoders.base import EncoderAdapter, scaling
from ipcv.hooks import Hooked, Method, states_of, with_states
from ipcv.stats import MergeCall, Stats


@dataclass
class _Run:
    """Tokens of `G` consecutive attention segments of equal length.

    Attributes:
        lengths: tokens of a segment at the input of each block, and at last behind them all.
        protected: tokens at the start of a segment that are not merged.
        sizes: `(G, n)` fp32, patches per token.
        rows: `(G, n)` the input row of each token, whose position it has.
        source: `(G, lengths[0])` for each input row of a segment, the place of its token.
    """

    lengths: tuple[int, ...]
    protected: int
    sizes: Tensor
    rows: Tensor
    source: Tensor

    def merge(self, states: list[Tensor], keys: Tensor, r: int) -> list[Tensor]:
        """Merge `r` tokens of each segment by their keys `(G, n, D)`; all the states, merged."""
        kept, destination = match(keys, r, self.protected)
        self.rows, self.source = self.rows.gather(1, kept), destination.gather(1, self.source)
        merged = [merge(x, self.sizes, destination, kept.shape[1]) for x in states]
        self.sizes = merged[0][1]
        return [means for means, _ in merged]

    def split_off(self, parts: list[Tensor], length: int) -> tuple[list[Tensor], list[Tensor]]:
        """Of all parts `(N, ...)` this run's first `(G, length, ...)`, and the rest."""
        count = len(self.sizes) * length
        own = [part[:count].unflatten(0, (-1, length)) for part in parts]
        return own, [part[count:] for part in parts]


@dataclass
class _Call:
    """State of one forward of the encoder.

    Attributes:
        context: what the adapter read from the encoder's arguments.
        full_outputs: blocks whose output must have all rows.
        runs: the tokens, in order; empty before the first block.
        carried: the tokens `(N', C)`, where the next block's input is full length instead.
        attended: `(N', heads * D)`, the running block's attention for the merged tokens.
    """

    context: Any
    full_outputs: set[int]
    runs: list[_Run] = field(default_factory=list)
    carried: Tensor | None = None
    attended: Tensor | None = None


class MergeEngine(Hooked[_Call]):
    """Merges tokens in one encoder. State is per call and per thread.

    A block wants one input, which it norms, attends and adds the result to. Here the keys that
    decide what is merged must be known first, so attention runs ahead of the block, on all tokens.
    As merging is linear, the block's input can then be merged before the sum instead of after.

    Args:
        adapter: the vision encoder; must be one that `can_merge`.
        method: the settings.
        stats: receives one record per encoder call.
    """

    def __init__(self, adapter: EncoderAdapter, method: ToMe, stats: Stats) -> None:
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
        """All tokens, each of one patch."""
        hidden_states: Tensor = arguments["hidden_states"]
        layout = self.adapter.layout(call.context, hidden_states)
        if layout.padding is not None:
            raise ValueError("token merging does not work with padding: pass images of equal size")
        segments, first, device = self.adapter.segment_lengths(arguments), 0, hidden_states.device
        for length, equal in groupby(segments):
            shape = len(list(equal)), length
            rows = first + torch.arange(shape[0] * length, device=device).view(shape)
            source = torch.arange(length, device=device).expand(shape)
            sizes = torch.ones(shape, device=device)
            lengths = self._lengths(length, layout.protected)
            call.runs.append(_Run(lengths, layout.protected, sizes, rows, source))
            first += rows.numel()
        tokens = [run.lengths for run in call.runs for _ in range(len(run.sizes))]
        self.stats.add(MergeCall(layout.item_lengths, tuple(tokens), layout.protected))

    def _lengths(self, length: int, protected: int) -> tuple[int, ...]:
        lengths = [length]
        for r in self.method.merged_per_block(length - protected, self._last + 1):
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
            if all(run.lengths[index + 1] == run.lengths[0] for run in call.runs):
                return original(*args, **kwargs)
            hidden_states = arguments.pop("hidden_states")
            states = self.adapter.rows(hidden_states) if call.carried is None else call.carried
            call.carried = None
            merged, call.attended = self._attend(call.runs, index, states, arguments)
            output = original(self.adapter.like(merged, hidden_states), **arguments)
            return self._full_length(call, index, output) if index in call.full_outputs else output

        return forward

    def _attend(
        self, runs: list[_Run], index: int, states: Tensor, arguments: Arguments
    ) -> tuple[Tensor, Tensor]:
        """The block's input `(N', C)` and attention `(N', heads * D)`, for the merged tokens."""
        block = self.adapter.blocks[index]
        attention, normed = self.adapter.attention(block), self.adapter.norm(block)(states)
        rows = torch.cat([run.rows.flatten() for run in runs])
        parts = [states, *self.adapter.heads(attention, normed, arguments, rows)]
        merged = []
        for run in runs:
            before, after = run.lengths[index : index + 2]
            (inputs, *qkv, keys), parts = run.split_off(parts, before)
            attended = _proportional_attention(qkv, run.sizes, scaling(attention))
            pair = run.merge([inputs, attended], keys.mean(2), before - after)
            merged.append([x.flatten(0, 1) for x in pair])
        inputs, attended = (torch.cat(parts) for parts in zip(*merged, strict=True))
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
        """The block's output with a copy of its token for every row."""
        states = states_of(output)
        call.carried = self.adapter.rows(states)
        parts, full = [call.carried], []
        for run in call.runs:
            (tokens,), parts = run.split_off(parts, run.lengths[index + 1])
            source = run.source[..., None].expand(-1, -1, tokens.shape[-1])
            full.append(tokens.gather(1, source).flatten(0, 1))
        return with_states(output, self.adapter.like(torch.cat(full), states))


def _proportional_attention(qkv: list[Tensor], sizes: Tensor, scale: float) -> Tensor:
    """Attention in which a token counts as often as it has patches (section 3, eq. 1).

    `(G, n, heads, D)` each and sizes `(G, n)` -> `(G, n, heads * D)`.
    """
    query, key, value = (x.transpose(1, 2) for x in qkv)
    bias = sizes.log().to(query.dtype)[:, None, None]
    attended = F.scaled_dot_product_attention(query, key, value, bias, scale=scale)
    return attended.transpose(1, 2).flatten(2)
