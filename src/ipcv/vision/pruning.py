"""The engine of methods that run blocks on fewer rows than came in."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from ipcv.core.arguments import Arguments, on_device
from ipcv.vision.adapters.base import EncoderAdapter
from ipcv.vision.engine import EncoderState, VisionEngine
from ipcv.vision.method import VisionMethod
from ipcv.vision.records import Record
from ipcv.vision.selection import Selection


class PruningMethod(VisionMethod):
    """Settings of a method whose blocks run on fewer rows than came in."""

    @abstractmethod
    def engine(self, adapter: EncoderAdapter, record: Record) -> PruningEngine[Any]:
        """As for every method."""

    def check(self, depth: int) -> None:
        """Raise `ValueError` for settings that cannot work for an encoder of `depth` blocks."""


@dataclass
class PruningState(EncoderState):
    """State of one forward of the encoder.

    Attributes:
        selection: what is kept; `None` while that is everything.
        kept: rows `(K, C)` that the block now running takes, before its norm.
        full: rows `(N, C)` of the same block's input, where they are known.
        arguments: the running block's arguments for all rows.
    """

    selection: Selection | None = None
    kept: Tensor | None = None
    full: Tensor | None = None
    arguments: Arguments = field(default_factory=dict)

    def to(self, device: torch.device) -> None:
        if self.selection is not None:
            self.selection.to(device)


def _nothing_to_do(what: object) -> None:
    """What one process does to agree with itself, and whom nobody listens to."""


Carried = TypeVar("Carried", bound=PruningState)


class PruningEngine(VisionEngine[Carried]):
    """Carries the rows that are kept from block to block, and rebuilds the others.

    Attributes:
        agree: makes states that rows are chosen by the same, in place, in all processes that share
            an encoder. Nothing to do in one.
        selected: is told what the last block ran on, where that was not everything.
    """

    agree: Callable[[Tensor], object] = staticmethod(_nothing_to_do)
    selected: Callable[[Selection], object] = staticmethod(_nothing_to_do)

    @property
    @abstractmethod
    def steps(self) -> set[int]:
        """Blocks before which it looks at rows, or some go."""

    def asks_all(self, index: int) -> bool:
        """Whether kept rows attend all rows in this block."""
        return False

    @contextmanager
    def at_rest(self) -> Iterator[Selection | None]:
        """Meanwhile attention is left alone; gives what is selected in the running call."""
        call = self._call
        if call is None:
            yield None
            return
        selection, call.selection = call.selection, None
        try:
            yield selection
        finally:
            call.selection = selection

    @abstractmethod
    def prune(self, call: Carried, index: int, rows: Tensor, hidden_states: Tensor) -> Tensor:
        """Those of the rows `(K, C)` that go on into a block, which `call.selection` says then.

        `hidden_states` are what the block was given.
        """

    def enter(
        self, call: Carried, index: int, hidden_states: Tensor, arguments: Arguments
    ) -> tuple[Tensor, Arguments] | None:
        selection, call.full = call.selection, None
        if selection is None:
            rows = call.full = self.adapter.rows(hidden_states)
        elif index - 1 in call.full_outputs:
            call.full = self.adapter.rows(hidden_states)
            rows = call.full[selection.kept]
        else:
            rows = self.adapter.unpack(hidden_states, selection)
        call.kept = self.prune(call, index, rows, hidden_states)
        if (selection := call.selection) is None:
            return None
        call.arguments = arguments
        pruned = self.adapter.prune_arguments(arguments, selection)
        return self.adapter.pack(call.kept, hidden_states, selection), pruned

    def attend(self, call: Carried, index: int, hidden_states: Tensor) -> Any:
        """Kept rows attend the rows that `keys` gives, or each other."""
        if (selection := call.selection) is None:
            return None
        keys = self.keys(call, selection, index, hidden_states)
        arguments = on_device(call.arguments, hidden_states.device)
        attention = self.adapter.attention(self.adapter.blocks[index])
        return self.adapter.attend(attention, hidden_states, keys, arguments, selection)

    def keys(
        self, call: Carried, selection: Selection, index: int, queries: Tensor
    ) -> Tensor | None:
        """All normed rows, in the encoder's shape, where the kept ones, `queries`, attend them."""
        return None

    def restore(self, call: Carried, index: int, states: Tensor) -> Tensor | None:
        if (selection := call.selection) is None:
            return None
        if index == self._last:
            self.selected(selection)
        kept = self.adapter.unpack(states, selection)
        return self.adapter.like(selection.restore(kept), states)
