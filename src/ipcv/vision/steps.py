"""Pruning in steps: rows go before several blocks, and come back in reverse order at the end."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ipcv.core.ops import full_precision
from ipcv.vision.adapters.base import EncoderAdapter
from ipcv.vision.layout import Layout
from ipcv.vision.neighbors import Neighbors, Reconstruction
from ipcv.vision.pairing import Offer, Pairs, paired
from ipcv.vision.pruning import PruningEngine, PruningMethod, PruningState
from ipcv.vision.reconstruction import Partition, linear
from ipcv.vision.records import Record, StepsCall
from ipcv.vision.selection import Selection, Step

FOLLOWED = 5
"""Kept rows that a removed one follows."""


class Removal(NamedTuple):
    """A step.

    Attributes:
        block: before which block.
        offer: who could go, and at which cost.
        by_keys: whether rows are compared by their keys in that block, instead of as they are.
        fraction: of the patches that came in, removed here; but never more than half of those left.
        tolerance: the highest cost of what is removed, where there is one.
    """

    block: int
    offer: Offer
    by_keys: bool
    fraction: float
    tolerance: float | None = None


class StepsMethod(PruningMethod):
    """Settings of a method that prunes in steps.

    Rows that go on count in attention for those they stand for, as far as these are like them.
    Patches compete with those of their attention segment: an image, a tile, a frame of a video.
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
        todo: removals that are still to come; none where nothing would go.
        counts: rows per group that each of the removals left, and before which block.
    """

    layout: Layout | None = None
    places: Tensor | None = None
    todo: list[Removal] = field(default_factory=list)
    counts: list[tuple[int, list[int]]] = field(default_factory=list)

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

    @property
    def steps(self) -> set[int]:
        return {removal.block for removal in self._removals}

    def prune(self, call: _State, index: int, rows: Tensor, hidden_states: Tensor) -> Tensor:
        if index == self.first_block:
            rows = self._start(call, rows, hidden_states)
        while call.todo and call.todo[0].block == index:
            rows = self._remove(call, call.todo.pop(0), rows)
        if index == self._removals[-1].block:
            self._report(call, rows)
        return rows

    def _start(self, call: _State, rows: Tensor, hidden_states: Tensor) -> Tensor:
        """All rows but padding."""
        layout = call.layout = self.adapter.layout(call.context, hidden_states).by_frames()
        patches = [n - layout.protected for n in layout.filled_lengths]
        if not any(_most(removal, n, n) for removal in self._removals for n in patches):
            return rows
        call.todo = list(self._removals)
        call.places = layout.positions()
        if layout.padding is not None:
            call.selection = _without_padding(rows, layout)
            kept = call.selection.kept
            rows, call.places = rows[kept], call.places[kept]
        return rows

    def _remove(self, call: _State, removal: Removal, rows: Tensor) -> Tensor:
        """The rows that go on."""
        before = call.selection
        assert call.layout is not None
        assert call.places is not None
        layout = call.layout if before is None else before.remaining()
        counts = zip(call.layout.filled_lengths, layout.group_lengths, strict=True)
        gone = [_most(removal, *(n - layout.protected for n in both)) for both in counts]
        if any(gone):
            features = self._features(removal, rows)
            self.agree(features)
            with full_precision(rows.device):
                offered = removal.offer, features, call.places, layout
                pairs = paired(*offered, gone, removal.tolerance)
                if any(gone := pairs.gone):
                    inner = _selection(rows, features, call.places, layout, pairs, before)
                    call.selection = inner if before is None else before.then(inner)
                    rows, call.places = rows[inner.kept], call.places[inner.kept]
        left = [n - r for n, r in zip(layout.group_lengths, gone, strict=True)]
        call.counts.append((removal.block, left))
        return rows

    def _features(self, removal: Removal, rows: Tensor) -> Tensor:
        """What the rows `(K, C)` are compared by: `(K, D)`."""
        if not removal.by_keys:
            return rows
        block = self.adapter.blocks[removal.block]
        normed = self.adapter.norm(block)(rows)
        return self.adapter.keys(self.adapter.attention(block), normed).mean(1)

    def _report(self, call: _State, rows: Tensor) -> None:
        """A record of the call, all of whose removals are behind it."""
        assert call.layout is not None
        if call.selection is None:
            kept, _ = _filled(call.layout, rows)
        else:
            kept = call.selection.kept
        counts, left = dict(call.counts), call.layout.filled_lengths
        blocks = []
        for index in range(len(self.adapter.blocks)):
            left = counts.get(index, left)
            blocks.append(tuple(left))
        self.record(StepsCall(call.layout, kept, tuple(blocks)))


def _most(removal: Removal, patches: int, left: int) -> int:
    """How many of a group's patches, of which some are left, may go."""
    return min(round(removal.fraction * patches), left // 2)


def _selection(
    rows: Tensor,
    features: Tensor,
    places: Tensor,
    layout: Layout,
    pairs: Pairs,
    before: Selection | None,
) -> Selection:
    """What rebuilds the removed rows, and for how many patches the kept ones count now."""
    kept, removed = pairs.kept, pairs.removed
    counted = pairs.weight
    if before is not None and before.sizes is not None:
        counted = counted * before.sizes
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
