"""One clock for all timings, and the means to read it around every call of a module."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import nn

from ipcv.core.arguments import Arguments, bind


def milliseconds() -> float:
    """The time now, after the accelerator has finished what it was given."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return 1e3 * perf_counter()


class Elapsed(NamedTuple):
    """Milliseconds of a call: until its result was there, and until the host was free again."""

    total: float
    host: float


def timed(
    call: Callable[[], object],
    device: torch.device,
    seconds: Callable[[], float] = perf_counter,
) -> Elapsed:
    """How long a call takes. On CUDA between two events, so that nothing waits inside of it.

    Args:
        call: what to run, on an idle device.
        device: where it runs.
        seconds: the host's clock.
    """
    if device.type != "cuda":
        start = seconds()
        call()
        elapsed = 1e3 * (seconds() - start)
        return Elapsed(elapsed, elapsed)
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    start = seconds()
    first.record()
    call()
    last.record()
    host = 1e3 * (seconds() - start)
    torch.cuda.synchronize(device)
    return Elapsed(first.elapsed_time(last), host)


@contextmanager
def metered(module: nn.Module, read: Callable[[], float] = milliseconds) -> Iterator[list[float]]:
    """By how much the meter rises in every call of `module`; in milliseconds by default."""
    started: list[float] = []
    elapsed: list[float] = []
    before = module.register_forward_pre_hook(lambda *_: started.append(read()), prepend=True)
    after = module.register_forward_hook(lambda *_: elapsed.append(read() - started.pop()))
    try:
        yield elapsed
    finally:
        before.remove()
        after.remove()


@contextmanager
def recording(module: nn.Module) -> Iterator[list[Arguments]]:
    """The arguments of every call of `module`, by name."""
    calls: list[Arguments] = []
    signature = inspect.signature(module.forward)

    def record(_: Any, args: Any, kwargs: Arguments) -> None:
        calls.append(bind(signature, args, kwargs))

    hook = module.register_forward_pre_hook(record, with_kwargs=True)
    try:
        yield calls
    finally:
        hook.remove()
