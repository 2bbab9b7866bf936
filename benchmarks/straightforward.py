"""The method in its straightforward form: the yardstick for speed.

Attention Stabilization runs whole blocks on all rows and then drops the removed ones; a removed row
is rebuilt from a gathered `(R, k, C)` tensor; the distances of an item are one fp32 matrix.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ipcv import IPCV
from ipcv.core.arguments import Arguments, bind
from ipcv.core.hooks import Hooks, Method, states_of, with_states
from ipcv.families import adapter_for
from ipcv.vision.adapters.base import EncoderAdapter
from ipcv.vision.selection import Choice, Selection, Step


class Gathered:
    """Rebuilds the removed rows `(R, C)`, which move by the mean change of their neighbours."""

    def __init__(self, removed: Tensor, kept: Tensor, neighbors: Tensor) -> None:
        self.removed, self.kept, self.neighbors = removed, kept, neighbors

    def __call__(self, kept: Tensor) -> Tensor:
        """`(K, C) -> (R, C)`."""
        return self.removed + (kept[self.neighbors] - self.kept[self.neighbors]).mean(1)


def all_nearest(removed: Tensor, kept: Tensor, choice: Choice, k: int) -> Tensor:
    """`(R, k)`: for every item all its distances at once. Items must keep at least `k` rows."""
    layout, first, found = choice.layout, 0, []
    kept_lengths = layout.per_item(choice.counts)
    removed_lengths = [n - m for n, m in zip(layout.item_lengths, kept_lengths, strict=True)]
    items = zip(removed.split(removed_lengths), kept.split(kept_lengths), strict=True)
    for queries, candidates in items:
        distances = torch.cdist(queries.float(), candidates.float())
        found.append(first + distances.topk(k, largest=False).indices)
        first += len(candidates)
    return torch.cat(found)


class Straightforward:
    """Runs an encoder's blocks on few rows; one call at a time, without hidden states on the way.

    Args:
        adapter: the vision encoder.
        method: the settings.
    """

    def __init__(self, adapter: EncoderAdapter, method: IPCV) -> None:
        self.adapter, self.method = adapter, method

    @contextmanager
    def opened(self, arguments: Arguments, tiles: Sequence[int] = ()) -> Iterator[None]:
        """One forward of the encoder."""
        self.context = self.adapter.open(arguments, tiles)
        yield

    def block(self, index: int, original: Method) -> Method:
        """What takes the place of a block's forward."""
        signature = inspect.signature(original)

        def forward(*args: Any, **kwargs: Any) -> Any:
            arguments = bind(signature, args, kwargs)
            states: Tensor = arguments["hidden_states"]
            if index == self.method.prune_layer - 1:
                self.previous = self.adapter.rows(states)
            if index < self.method.prune_layer:
                return original(*args, **kwargs)
            if index == self.method.prune_layer:
                self.select(states)
                states = self.adapter.pack(
                    self.adapter.rows(states)[self.selection.kept], states, self.selection
                )
            return self.pruned(index, original, arguments | {"hidden_states": states})

        return forward

    def pruned(self, index: int, original: Method, arguments: Arguments) -> Any:
        """A block's output for the kept rows; the last block's for all rows."""
        adapter, selection = self.adapter, self.selection
        states: Tensor = arguments["hidden_states"]
        if index < self.method.prune_layer + self.method.stabilization_layers:
            output = original(**arguments | {"hidden_states": self.full_length(states)})
            kept = adapter.rows(states_of(output))[selection.kept]
            output = with_states(output, adapter.pack(kept, states, selection))
        else:
            pruned = adapter.prune_arguments(arguments, selection)
            if "cu_seqlens" in pruned:  # the model's own loop takes no empty segments
                pruned["cu_seqlens"] = pruned["cu_seqlens"].unique_consecutive()
            output = original(**pruned)
        if index == len(adapter.blocks) - 1:
            output = with_states(output, self.full_length(states_of(output)))
        return output

    def full_length(self, states: Tensor) -> Tensor:
        """All rows from the kept ones, in the encoder's shape."""
        kept = self.adapter.unpack(states, self.selection)
        return self.adapter.like(self.selection.restore(kept), states)

    def select(self, hidden_states: Tensor) -> None:
        """Choose the rows to keep and find the neighbours of the others."""
        rows = self.adapter.rows(hidden_states)
        layout = self.adapter.layout(self.context, hidden_states)
        choice = self.method.choose(self.previous, rows, layout)
        states = rows[choice.removed], rows[choice.kept]
        neighbors = all_nearest(*states, choice, self.method.num_neighbors)
        gathered: Any = Gathered(*states, neighbors)
        step = Step(choice.kept, choice.removed, gathered)
        self.selection = Selection(choice.layout, choice.counts, choice.kept, (step,))


@contextmanager
def straightforward(model: nn.Module, method: IPCV) -> Iterator[None]:
    """Compress the vision encoder of `model` this way while the context is open."""
    run, hooks = Straightforward(adapter_for(model), method), Hooks()
    hooks.surround(run.adapter.encoder, "forward", run.opened)
    for index, block in enumerate(run.adapter.blocks):
        hooks.replace(block, "forward", partial(run.block, index))
    try:
        yield
    finally:
        hooks.remove()
