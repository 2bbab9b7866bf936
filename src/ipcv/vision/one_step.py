"""Pruning in one step: rows chosen before a block, attended for a while, rebuilt after the last."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ipcv.core.ops import full_precision
from ipcv.vision.adapters.base import EncoderAdapter
from ipcv.vision.layout import Layout
from ipcv.vision.pruning import PruningEngine, PruningMethod, PruningState
from ipcv.vision.records import OneStepCall, Record
from ipcv.vision.selection import Choice, Selection


class OneStepMethod(PruningMethod):
    """Settings of a method that prunes the rows of an encoder once, and how it chooses.

    Attributes:
        prune_layer: 0-based index of the first block that runs on kept rows only.
        stabilization_layers: number of blocks, from `prune_layer` on, in which removed rows still
            serve as keys and values.
        reduction_ratio: fraction of the patches of each group that is removed, in [0, 1).
    """

    prune_layer: int = 0
    stabilization_layers: int = 0
    reduction_ratio: float

    @abstractmethod
    def scores(self, previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
        """`(N,)`: of each group of rows the highest are kept.

        Args:
            previous: `(N, C)` input of block `prune_layer - 1`; `rows` where that is 0.
            rows: `(N, C)` input of block `prune_layer`.
            layout: which rows belong together.
        """

    @abstractmethod
    def select(self, choice: Choice, rows: Tensor) -> Selection:
        """The rows that go on, and what rebuilds the others of the rows `(N, C)`."""

    def compete(self, layout: Layout) -> Layout:
        """The layout in which rows compete and rebuild each other: here, their items."""
        return layout

    def choose(self, previous: Tensor, rows: Tensor, layout: Layout) -> Choice:
        """The rows to keep (paper, section 3.1); arguments as for `scores`."""
        counts = layout.keep_counts(self.reduction_ratio)
        return Choice.highest(self.scores(previous, rows, layout), layout, counts)

    def engine(self, adapter: EncoderAdapter, record: Record) -> OneStepEngine:
        """As for every method. Raises `ValueError` for settings beyond the encoder's depth."""
        self.check(len(adapter.blocks), adapter.max_patches)
        return OneStepEngine(adapter, self, record)

    def check(self, depth: int, max_patches: int = EncoderAdapter.max_patches) -> None:
        """Raise `ValueError` for settings that cannot work for an encoder of `depth` blocks."""
        if self.prune_layer >= depth:
            raise ValueError(
                f"prune_layer {self.prune_layer} is beyond the encoder's {depth} blocks: "
                f"it must be at most {depth - 1}"
            )
        if int(max_patches * (1 - self.reduction_ratio)) < 1:
            raise ValueError(
                f"reduction_ratio {self.reduction_ratio} keeps no patch, even of {max_patches:,}: "
                f"it must be at most {1 - 1 / max_patches:.4f}"
            )


@dataclass
class _State(PruningState):
    """State of one forward of the encoder.

    Attributes:
        previous: rows `(N, C)` of the input of block `prune_layer - 1`, if there is one.
    """

    previous: Tensor | None = None


class OneStepEngine(PruningEngine[_State]):
    """Runs a method that prunes once."""

    def __init__(self, adapter: EncoderAdapter, method: OneStepMethod, record: Record) -> None:
        super().__init__(adapter, record)
        self.method = method
        first, depth = method.prune_layer, len(adapter.blocks)
        self.first_block = max(0, first - 1)
        self._behind = min(depth, first + method.stabilization_layers)

    def begin(self, context: Any, full_outputs: set[int]) -> _State:
        return _State(context, full_outputs)

    def attends(self, index: int) -> bool:
        is_pruned = index >= self.method.prune_layer
        return self.asks_all(index) or (is_pruned and self.adapter.attends_kept)

    def asks_all(self, index: int) -> bool:
        return self.method.prune_layer <= index < self._behind

    @property
    def steps(self) -> set[int]:
        return {self.method.prune_layer - 1, self.method.prune_layer}

    def prune(self, call: _State, index: int, rows: Tensor, hidden_states: Tensor) -> Tensor:
        if index < self.method.prune_layer:
            call.previous = rows
        elif index == self.method.prune_layer:
            self._select(call, rows, hidden_states)
            return rows if call.selection is None else rows[call.selection.kept]
        return rows

    def _select(self, call: _State, rows: Tensor, hidden_states: Tensor) -> None:
        """Choose the rows to keep and prepare the rebuilding of the others."""
        previous = rows if call.previous is None else call.previous.to(rows.device)
        call.previous = None
        for states in (previous, rows) if previous is not rows else (rows,):
            self.agree(states)
        items = self.adapter.layout(call.context, hidden_states)
        layout = self.method.compete(items)
        with full_precision(rows.device):
            choice = self.method.choose(previous, rows, layout)
            first = self.method.prune_layer
            blocks = len(self.adapter.blocks), first, self._behind - first
            known = tuple(choice.counts) if layout.group_lengths == items.group_lengths else None
            self.record(OneStepCall(items, choice.kept, known, *blocks))
            if not choice.keeps_all:
                call.selection = self.method.select(choice, rows)

    def keys(
        self, call: _State, selection: Selection, index: int, queries: Tensor
    ) -> Tensor | None:
        """All normed rows, in the encoder's shape (paper, section 3.3); `queries` are kept ones."""
        if not self.asks_all(index):
            return None
        assert call.kept is not None
        (step,) = selection.steps
        if call.full is None:
            removed = step.reconstruct(call.kept.to(queries.device))
        else:
            removed = call.full.to(queries.device)[step.removed]
        normed = self.adapter.norm(self.adapter.blocks[index])(removed)
        return self.adapter.like(
            step.merge(self.adapter.unpack(queries, selection), normed), queries
        )
