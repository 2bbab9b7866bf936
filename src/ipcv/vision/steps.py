"""Pruning in steps: rows go before several blocks, and come back in reverse order at the end."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ipcv.core.ops import full_precision
from ipcv.vision.adapters.base import EncoderAdapter
from ipcv.vision.layout import Layout
from ipcv.vision.matching import likeness
from ipcv.vision.neighbors import Neighbors, Reconstruction
from ipcv.vision.pruning import PruningEngine, PruningMethod, PruningState
from ipcv.vision.reconstruction import Partition, linear
from ipcv.vision.records import Record, StepsCall
from ipcv.vision.selection import Selection, Step

FOLLOWED = 5
"""Kept rows that a removed one follows."""

Pair = Callable[[Tensor, Tensor, int, int], tuple[Tensor, Tensor]]
"""`(features (G, n, D), places (G, n, 3), r, protected) -> kept (G, n - r), destination (G, n)`:
which rows of a group go on, and which of these stands for each row; as `matching.match`.
"""


class Removal(NamedTuple):
    """A step.

    Attributes:
        block: before which block.
        fraction: of the patches that came in, removed here.
        by_keys: whether rows are compared by their keys in that block, instead of as they are.
        pair: tells who goes, and who stands for it.
    """

    block: int
    fraction: float
    by_keys: bool
    pair: Pair


class StepsMethod(PruningMethod):
    """Settings of a method that prunes in steps.

    Rows that go on count in attention for those they stand for, as far as these are like them.
    Patches compete with those of their attention segment: an image, a tile, a frame of a video. No
    step removes more than half of them.
    """

    @abstractmethod
    def removals(self, depth: int) -> list[Removal]:
        """The steps in an encoder of `depth` blocks, in order; at least one."""

    def engine(self, adapter: EncoderAdapter, record: Record) -> StepsEngine:
        """As for every method."""
        return StepsEngine(adapter, self.removals(len(adapter.blocks)), record)


@dataclass
class _State(PruningState):
    """State of one forward of the encoder.

    Attributes:
        layout: its items, with attention segments as groups.
        places: `(K, 3)` of the rows kept so far: frame or tile, row and column.
        counts: rows per group that are left behind each of the removals.
    """

    layout: Layout | None = None
    places: Tensor | None = None
    counts: list[list[int]] = field(default_factory=list)

    def to(self, device: torch.device) -> None:
        super().to(device)
        if self.places is not None:
            self.places = self.places.to(device)


class StepsEngine(PruningEngine[_State]):
    """Runs a method that prunes in steps."""

    def __init__(self, adapter: EncoderAdapter, removals: list[Removal], record: Record) -> None:
        super().__init__(adapter, record)
        self._removals = removals
        self.first_block = removals[0].block

    def begin(self, context: Any, full_outputs: set[int]) -> _State:
        return _State(context, full_outputs)

    def prune(self, call: _State, index: int, rows: Tensor, hidden_states: Tensor) -> Tensor:
        if index == self.first_block:
            rows = self._start(call, rows, hidden_states)
        for number, removal in enumerate(self._removals):
            if removal.block == index and call.counts:
                rows = self._remove(call, number, rows)
        if index == self._removals[-1].block:
            self._report(call, rows)
        return rows

    def _start(self, call: _State, rows: Tensor, hidden_states: Tensor) -> Tensor:
        """All rows but padding, and how many there will be."""
        layout = call.layout = self.adapter.layout(call.context, hidden_states).by_frames()
        counts, patches = layout.filled_lengths, layout.filled_lengths
        for removal in self._removals:
            wanted = [round(removal.fraction * (n - layout.protected)) for n in patches]
            most = [(n - layout.protected) // 2 for n in counts]
            counts = [n - min(r, m) for n, r, m in zip(counts, wanted, most, strict=True)]
            call.counts.append(counts)
        if counts == patches:
            call.counts.clear()
            return rows
        call.places = layout.positions()
        if layout.padding is not None:
            call.selection = _without_padding(rows, layout)
            kept = call.selection.kept
            rows, call.places = rows[kept], call.places[kept]
        return rows

    def _remove(self, call: _State, number: int, rows: Tensor) -> Tensor:
        """The rows that go on."""
        removal, before = self._removals[number], call.selection
        assert call.layout is not None
        assert call.places is not None
        layout = call.layout if before is None else before.remaining()
        if layout.group_lengths == tuple(call.counts[number]):
            return rows
        features = rows
        if removal.by_keys:
            block = self.adapter.blocks[removal.block]
            normed = self.adapter.norm(block)(rows)
            features = self.adapter.keys(self.adapter.attention(block), normed).mean(1)
        self.agree(features)
        with full_precision(rows.device):
            sizes = None if before is None else before.sizes
            pairs = _paired(removal.pair, features, call.places, layout, call.counts[number])
            inner = _selection(rows, features, call.places, layout, pairs, sizes)
        call.selection = inner if before is None else before.then(inner)
        call.places = call.places[inner.kept]
        return rows[inner.kept]

    def _report(self, call: _State, rows: Tensor) -> None:
        """A record of the call, all of whose removals are behind it."""
        assert call.layout is not None
        if call.selection is None:
            kept, _ = _filled(call.layout, rows)
        else:
            kept = call.selection.kept
        filled, blocks = call.layout.filled_lengths, []
        for index in range(len(self.adapter.blocks)):
            done = sum(removal.block <= index for removal in self._removals)
            blocks.append(tuple(call.counts[done - 1] if done and call.counts else filled))
        self.record(StepsCall(call.layout, kept, tuple(blocks)))


class _Pairs(NamedTuple):
    """Who goes on, of `N` rows.

    Attributes:
        kept, removed: `(K,)`, `(N - K,)` int64, ascending.
        destination: `(N,)` the place among the kept ones of the one that stands for each row.
        weight: `(N,)` fp32, how far a row counts there.
        counts, gone: rows kept and removed per group.
    """

    kept: Tensor
    removed: Tensor
    destination: Tensor
    weight: Tensor
    counts: list[int]
    gone: list[int]


def _paired(
    pair: Pair, features: Tensor, places: Tensor, layout: Layout, counts: Sequence[int]
) -> _Pairs:
    """All groups, those of equal length at once."""
    gone = [n - count for n, count in zip(layout.group_lengths, counts, strict=True)]
    parts, first, first_kept = [], 0, 0
    for (n, r), equal in groupby(zip(layout.group_lengths, gone, strict=True)):
        number = len(list(equal))
        rows = slice(first, first + number * n)
        states, place = (x[rows].unflatten(0, (number, n)) for x in (features, places))
        if r:
            kept, destination = pair(states, place, r, layout.protected)
        else:
            kept = destination = torch.arange(n, device=features.device).expand(number, n)
        weight = _weights(states, kept, destination, layout.protected)
        group = torch.arange(number, device=features.device)[:, None]
        own = kept + group * n + first, destination + group * (n - r) + first_kept, weight
        parts.append([x.flatten() for x in own])
        first, first_kept = rows.stop, first_kept + number * (n - r)
    kept, destination, weight = (torch.cat(part) for part in zip(*parts, strict=True))
    is_kept = torch.zeros_like(destination).index_fill_(0, kept, 1)
    removed = is_kept.argsort(stable=True)[: len(features) - len(kept)]
    return _Pairs(kept, removed, destination, weight, list(counts), gone)


def _weights(states: Tensor, kept: Tensor, destination: Tensor, protected: int) -> Tensor:
    """`(G, n)`: how far each row is like the one that stands for it."""
    centered = states.float()
    centered = centered - centered[:, protected:].mean(1, keepdim=True)
    target = kept.gather(1, destination)[..., None].expand_as(centered)
    return likeness(centered, centered.gather(1, target))


def _selection(
    rows: Tensor,
    features: Tensor,
    places: Tensor,
    layout: Layout,
    pairs: _Pairs,
    sizes: Tensor | None,
) -> Selection:
    """What rebuilds the removed rows, and for how many patches the kept ones count now."""
    kept, removed = pairs.kept, pairs.removed
    counted = pairs.weight if sizes is None else pairs.weight * sizes
    sizes = counted.new_zeros(len(kept)).index_add_(0, pairs.destination, counted)
    partition = Partition(
        features[removed],
        features[kept],
        pairs.gone,
        pairs.counts,
        lambda: (places[removed], places[kept]),
    )
    rebuilt = Reconstruction(rows[removed], rows[kept], linear(partition, FOLLOWED))
    return Selection(layout, pairs.counts, kept, (Step(kept, removed, rebuilt),), sizes)


def _filled(layout: Layout, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The indices of those of the rows `(N, C)` that hold a patch, and of the others."""
    indices = torch.arange(len(rows), device=rows.device)
    if layout.padding is not None:
        indices = layout.padding.to(rows.device).int().argsort(stable=True)
    kept = sum(layout.filled_lengths)
    return indices[:kept], indices[kept:]


def _without_padding(rows: Tensor, layout: Layout) -> Selection:
    """All rows that hold a patch; padding stays as it is."""
    kept, removed = _filled(layout, rows)
    unchanged = Neighbors(removed.new_zeros(len(removed), 0))
    step = Step(kept, removed, Reconstruction(rows[removed], rows[kept], unchanged))
    return Selection(layout, layout.filled_lengths, kept, (step,))
