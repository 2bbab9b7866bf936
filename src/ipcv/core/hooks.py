"""What an engine puts into a model, and how it is taken out again."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from torch import nn
from torch.utils.hooks import RemovableHandle

from ipcv.core.arguments import Arguments, bind

Method = Callable[..., Any]
Call = TypeVar("Call")


_removed: WeakKeyDictionary[Method, Method | None] = WeakKeyDictionary()
"""Replacements that are in effect no more, and what each had taken the place of on its module."""


class Hooks:
    """Hooks and replaced methods. Once removed, nothing of them has an effect."""

    def __init__(self) -> None:
        self._removers: list[Callable[[], None]] = []

    def add(self, handle: RemovableHandle) -> None:
        """A hook that was registered."""
        self._removers.append(handle.remove)

    def replace(self, module: nn.Module, name: str, make: Callable[[Method], Method]) -> None:
        """Put `make(method)` in the place of a method.

        Where somebody else has wrapped it since, removal leaves their wrapper alone, inside which
        the method is then as it was.
        """
        original, found = getattr(module, name), vars(module).get(name)
        replacement = make(original)

        @wraps(original)
        def method(*args: Any, **kwargs: Any) -> Any:
            return (replacement if self._removers else original)(*args, **kwargs)

        def restore() -> None:
            _removed[method] = found
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


class Hooked(Generic[Call]):
    """What is hooked into a model, and the state of the call that runs in this thread."""

    def __init__(self) -> None:
        self._hooks = Hooks()
        self._local = threading.local()

    def detach(self) -> None:
        """Leave the model as it was found."""
        self._hooks.remove()

    @property
    def _call(self) -> Call | None:
        return getattr(self._local, "call", None)

    @contextmanager
    def _running(self, call: Call) -> Iterator[None]:
        self._local.call = call
        try:
            yield
        finally:
            self._local.call = None


def states_of(output: Any) -> Any:
    """The hidden states in what a block or layer returned."""
    return output[0] if isinstance(output, tuple) else output


def with_states(output: Any, states: Any) -> Any:
    """The same output with other hidden states."""
    return (states, *output[1:]) if isinstance(output, tuple) else states
