"""The lifecycle that all vision methods share: state of a call, hooks on blocks, full length."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ipcv.core.arguments import Arguments, bind, on_device
from ipcv.core.hooks import Hooked, Method, refuse_recomputation, states_of, with_states
from ipcv.vision.adapters.base import EncoderAdapter, TilesReader
from ipcv.vision.records import Record


@dataclass
class EncoderState:
    """State of one forward of the encoder.

    Attributes:
        context: what the adapter read from the encoder's arguments.
        full_outputs: blocks whose output must have all rows.
    """

    context: Any
    full_outputs: set[int]

    def to(self, device: torch.device) -> None:
        """Follow a model whose blocks are split over devices."""


State = TypeVar("State", bound=EncoderState)


class VisionEngine(Hooked[State]):
    """Compresses one encoder. State is per call and per thread, and dropped when the call ends.

    A subclass says what a call begins with (`begin`), what a block takes instead of its input
    (`enter`), what its attention returns (`attend`), and how a full-length output is rebuilt
    (`restore`). Whatever else there is to running inside somebody's model is here.

    Args:
        adapter: the vision encoder, and what differs for its kind.
        record: gets a record of every call.

    Attributes:
        first_block: the first block that is to be hooked.
    """

    first_block = 0
    is_observable = True
    """Whether each block's input is at hand for all rows, for methods that rank by attention."""

    def __init__(self, adapter: EncoderAdapter, record: Record) -> None:
        super().__init__()
        self.adapter, self.record = adapter, record
        self._last = len(adapter.blocks) - 1

    @abstractmethod
    def begin(self, context: Any, full_outputs: set[int]) -> State:
        """The state with which a call begins."""

    @abstractmethod
    def enter(
        self, call: State, index: int, hidden_states: Tensor, arguments: Arguments
    ) -> tuple[Tensor, Arguments] | None:
        """What a block takes instead of its hidden states and other arguments; `None`: those."""

    @abstractmethod
    def attend(self, call: State, index: int, hidden_states: Tensor) -> Any:
        """What a block's attention returns for normed states; `None`: whatever it returns."""

    @abstractmethod
    def restore(self, call: State, index: int, states: Tensor) -> Tensor | None:
        """A block's output for all rows, in the encoder's shape; `None` if it has them."""

    def check_call(self, arguments: Arguments) -> None:
        """Raise `ValueError` or `RuntimeError` for a call of the encoder that cannot be right."""
        self.adapter.check_call(arguments)

    def attends(self, index: int) -> bool:
        """Whether `attend` may have something to say in this block."""
        return True

    @property
    def has_run(self) -> bool:
        """Whether the encoder has run in this thread, since somebody last said that it had not."""
        return getattr(self._local, "has_run", False)

    @has_run.setter
    def has_run(self, value: bool) -> None:
        self._local.has_run = value  # a count would be another one, and a new graph, at every call

    @property
    def target(self) -> nn.Module:
        """The encoder."""
        return self.adapter.encoder

    def attach(self) -> None:
        """Install the hooks."""
        for module, name, read in self.adapter.tile_sources:
            self._hooks.surround(module, name, partial(self._tiles_known, read))
        for name, defaults in self.adapter.entries.items():
            self._hooks.surround(self.adapter.encoder, name, partial(self._opened, defaults))
        self._hooks.before(self.adapter.encoder, self._refuse_copy)
        for index in range(self.first_block, self._last + 1):
            block = self.adapter.blocks[index]
            self._hooks.replace(block, "forward", partial(self._enter, index))
            # Ahead of the hooks that capture outputs: those must see what this one returns.
            self._hooks.after(block, partial(self._leave, index), prepend=True)
            if self.attends(index):
                attention = self.adapter.attention(block)
                self._hooks.replace(attention, "forward", partial(self._attend, index))

    def _refuse_copy(self, encoder: nn.Module, args: Any, kwargs: Arguments) -> None:
        if encoder is not self.adapter.encoder and not torch.compiler.is_compiling():
            raise RuntimeError(
                "this is a shallow copy of a compressed encoder (a DataParallel replica, or what "
                "accelerate's compile_regions returns): remove the handle, and compress the copy"
            )

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
    def _opened(self, defaults: Arguments, given: Arguments) -> Iterator[None]:
        """The state of one forward of the encoder, while it runs."""
        arguments = defaults | given
        self.check_call(arguments)
        self.has_run = True
        full_outputs = self.adapter.full_length_outputs(arguments) | {self._last}
        context = self.adapter.open(arguments, self._tiles)
        with self._running(self.begin(context, full_outputs)):
            yield

    def _enter(self, index: int, original: Method) -> Method:
        signature = inspect.signature(original)

        def forward(*args: Any, **kwargs: Any) -> Any:
            call = self._call
            if call is None:
                refuse_recomputation()
                return original(*args, **kwargs)
            arguments = bind(signature, args, kwargs)
            hidden_states: Tensor = arguments.pop(self.adapter.states_name)
            call.to(hidden_states.device)
            arguments = on_device(arguments, hidden_states.device)
            entered = self.enter(call, index, hidden_states, arguments)
            if entered is None:
                return original(*args, **kwargs)
            states, others = entered
            return original(states, **others)

        return forward

    def _leave(self, index: int, block: nn.Module, args: Any, output: Any) -> Any:
        call = self._call
        if call is None or index not in call.full_outputs:
            return None
        states = states_of(output)
        call.to(states.device)
        restored = self.restore(call, index, states)
        return None if restored is None else with_states(output, restored)

    def _attend(self, index: int, original: Method) -> Method:
        def forward(*args: Any, **kwargs: Any) -> Any:
            call = self._call
            if call is None:
                refuse_recomputation()
                return original(*args, **kwargs)
            hidden_states: Tensor = args[0] if args else kwargs["hidden_states"]
            call.to(hidden_states.device)  # an offloading block moves its inputs after our hook
            attended = self.attend(call, index, hidden_states)
            return original(*args, **kwargs) if attended is None else attended

        return forward
