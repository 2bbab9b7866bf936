"""The method on any encoder, by hooks: prune before a block, stabilize, restore after the last."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn

from ipcv.core.arguments import Arguments, bind, on_device
from ipcv.core.config import IPCV
from ipcv.core.hooks import Hooked, Method, states_of, with_states
from ipcv.stats import EncoderCall, Stats
from ipcv.vision.adapters.base import EncoderAdapter, TilesReader
from ipcv.vision.selection import Selection, choose


@dataclass
class _Call:
    """State of one forward of the encoder.

    Attributes:
        context: what the adapter read from the encoder's arguments.
        full_outputs: blocks whose output must have all rows.
        previous: rows `(N, C)` of the input of block `prune_layer - 1`, if there is one.
        kept: rows `(K, C)` that the block now running takes, before its norm.
        full: rows `(N, C)` of the same block's input, where they are known.
        arguments: the running block's arguments for all rows.
    """

    context: Any
    full_outputs: set[int]
    previous: Tensor | None = None
    selection: Selection | None = None
    kept: Tensor | None = None
    full: Tensor | None = None
    arguments: Arguments = field(default_factory=dict)


class Engine(Hooked[_Call]):
    """Compresses one encoder. State is per call and per thread, and dropped when the call ends.

    Args:
        adapter: the vision encoder, and what differs for its kind.
        method: the settings, already checked against the encoder's depth.
        stats: receives one record per encoder call.
    """

    def __init__(self, adapter: EncoderAdapter, method: IPCV, stats: Stats) -> None:
        super().__init__()
        self.adapter, self.method, self.stats = adapter, method, stats
        depth = len(adapter.blocks)
        self._last = depth - 1
        self._stabilized = range(
            method.prune_layer, min(depth, method.prune_layer + method.stabilization_layers)
        )
        self._signatures = [inspect.signature(block.forward) for block in adapter.blocks]

    def attach(self) -> None:
        """Install the hooks."""
        first = self.method.prune_layer
        for module, name, read in self.adapter.tile_sources:
            self._hooks.surround(module, name, partial(self._tiles_known, read))
        self._hooks.surround(self.adapter.encoder, "forward", self._opened)
        for index in range(max(0, first - 1), self._last + 1):
            block = self.adapter.blocks[index]
            before = self._remember if index < first else self._before_block
            self._hooks.add(
                block.register_forward_pre_hook(
                    partial(before, index), with_kwargs=True, prepend=index >= first
                )
            )
            if index >= first:
                # Ahead of the hooks that capture outputs: those must see what this one returns.
                self._hooks.add(
                    block.register_forward_hook(partial(self._after_block, index), prepend=True)
                )
            if index in self._stabilized or (index >= first and self.adapter.attends_kept):
                self._attend(block, all_rows=index in self._stabilized)

    @property
    def _tiles(self) -> Sequence[int]:
        return getattr(self._local, "tiles", ())

    @contextmanager
    def _tiles_known(self, read: TilesReader, arguments: Arguments) -> Iterator[None]:
        """Know, while a model around the encoder runs, which tiles make up an image."""
        before, self._local.tiles = self._tiles, read(arguments)
        try:
            yield
        finally:
            self._local.tiles = before

    @contextmanager
    def _opened(self, arguments: Arguments) -> Iterator[None]:
        """The state of one forward of the encoder, while it runs."""
        is_checkpointed = getattr(self.adapter.blocks[0], "gradient_checkpointing", False)
        if self.adapter.encoder.training and is_checkpointed:
            raise RuntimeError(
                "a compressed encoder cannot be trained with gradient checkpointing, which runs "
                "single blocks again: call eval(), or disable one of the two"
            )
        full_outputs = self.adapter.full_length_outputs(arguments) | {self._last}
        context = self.adapter.open(arguments, self._tiles)
        with self._running(_Call(context, full_outputs)):
            yield

    def _remember(self, index: int, block: nn.Module, args: Any, kwargs: Arguments) -> None:
        if self._call is not None:
            arguments = bind(self._signatures[index], args, kwargs)
            self._call.previous = self.adapter.rows(arguments[self.adapter.states_name])

    def _before_block(
        self, index: int, block: nn.Module, args: Any, kwargs: Arguments
    ) -> tuple[tuple[Tensor], Arguments] | None:
        call = self._call
        if call is None:
            return None
        arguments = bind(self._signatures[index], args, kwargs)
        hidden_states = arguments[self.adapter.states_name]
        if index == self.method.prune_layer:
            self._select(call, hidden_states)
        selection = call.selection
        if selection is None:
            return None
        selection.to(hidden_states.device)
        call.arguments = arguments = on_device(arguments, hidden_states.device)
        if index == self.method.prune_layer or index - 1 in call.full_outputs:
            call.full = self.adapter.rows(hidden_states)
            call.kept = call.full[selection.kept]
        else:
            call.full = None
            call.kept = self.adapter.unpack(hidden_states, selection)
        pruned = self.adapter.prune_arguments(arguments, selection)
        del pruned[self.adapter.states_name]
        return (self.adapter.pack(call.kept, hidden_states, selection),), pruned

    def _after_block(self, index: int, block: nn.Module, args: Any, output: Any) -> Any:
        call = self._call
        if call is None or call.selection is None or index not in call.full_outputs:
            return None
        states = states_of(output)
        call.selection.to(states.device)
        kept = self.adapter.unpack(states, call.selection)
        return with_states(output, self.adapter.like(call.selection.restore(kept), states))

    def _select(self, call: _Call, hidden_states: Tensor) -> None:
        """Choose the rows to keep and prepare the rebuilding of the others."""
        rows = self.adapter.rows(hidden_states)
        previous = rows if call.previous is None else call.previous.to(rows.device)
        items = self.adapter.layout(call.context, hidden_states)
        layout = items.merged() if self.method.scope == "batch" else items
        choice = choose(previous, rows, layout, self.method)
        call.previous = None
        blocks = len(self.adapter.blocks), self.method.prune_layer, len(self._stabilized)
        known = tuple(choice.counts) if layout.group_lengths == items.group_lengths else None
        self.stats.add(EncoderCall(items, known, choice.kept, *blocks))
        if not choice.keeps_all:
            call.selection = Selection.of(choice, rows, self.method)

    def _attend(self, block: nn.Module, all_rows: bool) -> None:
        """Let kept rows attend all rows in this block (section 3.3), or each other."""
        attention, norm = self.adapter.attention(block), self.adapter.norm(block)

        def make(original: Method) -> Method:
            def forward(*args: Any, **kwargs: Any) -> Any:
                call = self._call
                if call is None or call.selection is None:
                    return original(*args, **kwargs)
                queries, selection = args[0] if args else kwargs["hidden_states"], call.selection
                selection.to(queries.device)  # an offloading block moves its inputs after our hook
                keys = self._keys(call, selection, norm, queries) if all_rows else None
                arguments = on_device(call.arguments, queries.device)
                return self.adapter.attend(attention, queries, keys, arguments, selection)

            return forward

        self._hooks.replace(attention, "forward", make)

    def _keys(self, call: _Call, selection: Selection, norm: nn.Module, queries: Tensor) -> Tensor:
        """All normed rows, in the encoder's shape; `queries` are the kept ones."""
        assert call.kept is not None
        if call.full is None:
            removed = selection.reconstruct(call.kept.to(queries.device))
        else:
            removed = call.full.to(queries.device)[selection.removed]
        rows = selection.merge(self.adapter.unpack(queries, selection), norm(removed))
        return self.adapter.like(rows, queries)
