"""Hooks and replaced methods in a model, the state of the calls that run, and the way back."""

from __future__ import annotations

import inspect
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from functools import update_wrapper
from pickle import PicklingError
from types import CodeType, MethodType
from typing import Any, Generic, NoReturn, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

from ipcv.core.arguments import Arguments, bind

Method = Callable[..., Any]
CallState = TypeVar("CallState")


class _Installed:
    """Something of ours inside a module: it has no effect in a copy, and cannot be pickled."""

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise PicklingError(
            "a compressed model cannot be pickled: remove() its handle, or save its weights alone"
        )


class _Hook(_Installed):
    """A hook on a module."""

    def __init__(self, function: Method) -> None:
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Method:
        return _nothing


def _nothing(*args: Any, **kwargs: Any) -> None:
    """The hook in a copy of a module."""


class _Replacement(_Installed):
    """A method in the place of a module's own, until the hooks that it is among are removed."""

    def __init__(
        self, hooks: Hooks, module: nn.Module, name: str, make: Callable[[Method], Method]
    ):
        self._hooks, self._module, self._name = hooks, module, name
        self.original: Method = getattr(module, name)
        self.found: Method | None = vars(module).get(name)
        self._replacement = make(self.original)
        update_wrapper(self, self.original, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        method = self._replacement if self._hooks else self.original
        return method(*args, **kwargs)

    @property
    def __code__(self) -> CodeType:
        """What `torch.export` asks a method for, to say where it is."""
        code: CodeType = inspect.unwrap(self.original).__code__
        return code

    def stands_alone(self, name: str) -> bool:
        """Whether the module has a method by that name from its class alone, but for us."""
        below = self.found
        is_first = below is None or (isinstance(below, _Replacement) and below.stands_alone(name))
        return name == self._name and is_first

    def __deepcopy__(self, memo: dict[int, Any]) -> Method:
        """What the copy of the module would have without us, where others hold on to us."""
        copied = memo.get(id(self._module))
        if copied is None:
            return self
        if self.found is not None:
            return deepcopy(self.found, memo)
        return MethodType(getattr(type(copied), self._name), copied)


def _reducing_plainly(reduce: Method) -> Method:
    """Copies of a module, deep ones and pickles, get their methods from the class."""

    def reduce_ex(protocol: Any) -> tuple[Any, ...]:
        make, arguments, state, *others = reduce(protocol)
        plain = {
            name: value
            for name, value in state.items()
            if not (isinstance(value, _Replacement) and value.stands_alone(name))
        }
        return (make, arguments, plain, *others)

    return reduce_ex


_removed: WeakKeyDictionary[Method, Method | None] = WeakKeyDictionary()
"""Replacements that are in effect no more, and what each had taken the place of on its module."""


class Hooks:
    """Hooks and replaced methods. Once removed, nothing of them has an effect."""

    def __init__(self) -> None:
        self._removers: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._removers)

    def before(self, module: nn.Module, hook: Method, prepend: bool = False) -> None:
        """Call `hook(module, args, kwargs)` before a module runs."""
        handle = module.register_forward_pre_hook(_Hook(hook), with_kwargs=True, prepend=prepend)
        self._removers.append(handle.remove)

    def after(self, module: nn.Module, hook: Method, prepend: bool = False) -> None:
        """Call `hook(module, args, output)` when a module has run."""
        self._removers.append(module.register_forward_hook(_Hook(hook), prepend=prepend).remove)

    def replace(self, module: nn.Module, name: str, make: Callable[[Method], Method]) -> None:
        """Put `make(method)` in the place of a method.

        Where somebody else has wrapped it since, removal leaves their wrapper alone, inside which
        the method is then as it was. Copies of the module do without it.
        """
        self._install(module, name, make)
        self._install(module, "__reduce_ex__", _reducing_plainly)

    def _install(self, module: nn.Module, name: str, make: Callable[[Method], Method]) -> None:
        method = _Replacement(self, module, name, make)

        def restore() -> None:
            _removed[method] = method.found
            while (current := vars(module).get(name)) is not None and current in _removed:
                if (below := _removed[current]) is None:
                    delattr(module, name)
                else:
                    setattr(module, name, below)

        setattr(module, name, method)
        self._removers.append(restore)

    def surround(
        self,
        module: nn.Module,
        name: str,
        enter: Callable[[Arguments], AbstractContextManager[None]],
    ) -> None:
        """While a method runs, be in the context that `enter` makes from its arguments.

        Unlike hooks, a context is left on every exception, `KeyboardInterrupt` too.
        """

        def make(original: Method) -> Method:
            signature = inspect.signature(original)

            def method(*args: Any, **kwargs: Any) -> Any:
                with enter(bind(signature, args, kwargs)):
                    return original(*args, **kwargs)

            return method

        self.replace(module, name, make)

    def remove(self) -> None:
        """Leave the model as it was found."""
        while self._removers:
            self._removers.pop()()


class Hooked(ABC, Generic[CallState]):
    """What is hooked into a model, and the state of the call that runs in this thread."""

    def __init__(self) -> None:
        self._hooks = Hooks()
        self._local = threading.local()
        self._idle = threading.Condition()
        self._users, self._is_closing = 0, False

    @property
    @abstractmethod
    def target(self) -> nn.Module:
        """The module that can be compressed by one of us at a time."""

    @abstractmethod
    def attach(self) -> None:
        """Install the hooks."""

    def detach(self) -> None:
        """Leave the model as it was found, once the calls that run in other threads have ended.

        Raises:
            RuntimeError: one runs in this thread.
        """
        if getattr(self._local, "depth", 0):
            raise RuntimeError("the model runs in this thread: remove the handle when it has ended")
        with self._idle:
            self._is_closing = True
            self._idle.wait_for(lambda: not self._users)
            self._hooks.remove()
            self._is_closing = False

    @contextmanager
    def _in_use(self) -> Iterator[bool]:
        """Keep the hooks where they are; false where they are about to go, and are to rest."""
        if torch.compiler.is_compiling():  # nothing is removed amid a graph, and locks break it
            yield True
            return
        depth: int = getattr(self._local, "depth", 0)
        with self._idle:
            if self._is_closing and not depth:
                counted = False
            else:
                counted = True
                self._users += 1
        self._local.depth = depth + counted
        try:
            yield counted
        finally:
            self._local.depth = depth
            with self._idle:
                self._users -= counted
                self._idle.notify_all()

    @property
    def _call(self) -> CallState | None:
        return getattr(self._local, "call", None)

    @contextmanager
    def _running(self, call: CallState) -> Iterator[None]:
        with self._in_use() as in_use:
            self._local.call = call if in_use else None
            try:
                yield
            finally:
                self._local.call = None


def refuse_recomputation() -> None:
    """Raise `RuntimeError` where a hooked module runs again for the backward pass.

    The state of the call is gone by then, and without it other values would be recomputed than the
    forward pass had.
    """
    if not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1:
        raise RuntimeError(
            "a compressed encoder cannot be trained with activation checkpointing of its blocks or "
            "their parts, which runs them again outside of a call: disable one of the two"
        )


def states_of(output: Any) -> Any:
    """The hidden states in what a block or layer returned."""
    return output[0] if isinstance(output, tuple) else output


def with_states(output: Any, states: Any) -> Any:
    """The same output with other hidden states."""
    return (states, *output[1:]) if isinstance(output, tuple) else states
