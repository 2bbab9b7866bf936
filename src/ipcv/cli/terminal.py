"""The terminal of the commands: a stderr of their own, and a log for what libraries say."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

STDERR = 2
LOG_BYTES = 1 << 20
"""How much of the log's end `logged` gives."""


class _Stderr(NamedTuple):
    """The commands' own stderr, and what it was before: Python's, and a copy of the system's."""

    own: TextIO
    python: TextIO | None
    system: int | None


_taken: list[_Stderr] = []


@contextmanager
def owned(keep: bool) -> Iterator[None]:
    """Until the end only `say` and `progress` reach stderr: what libraries write goes into a log.

    That holds for libraries in C, too: libtiff, FFmpeg. With `keep`, to the end of the process.
    """
    python = sys.stderr
    try:
        system = os.dup(STDERR)
    except OSError:  # closed
        system = None
    _taken.append(_Stderr(_own(python, system), python, system))
    os.dup2(_log().fileno(), STDERR)
    sys.stderr = _log()
    try:
        yield
    finally:
        if not keep:
            give_back()


def give_back() -> None:
    """End `owned`, where a command hands over to another program."""
    if not _taken:
        return
    before = _taken.pop()
    sys.stderr = before.python
    if before.system is not None:
        os.dup2(before.system, STDERR)
        os.close(before.system)


def say(message: str) -> None:
    """Write a line to stderr."""
    print(message, file=_stderr(), flush=True)


def console() -> Console:
    """Prints to stdout; brackets and colons in what users gave are no markup."""
    from rich.console import Console

    return Console(markup=False, emoji=False)


def progress() -> Progress:
    """A bar on stderr that goes away at the end; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    shown = Console(file=_stderr(), markup=False, emoji=False)
    hidden = not shown.is_terminal
    return Progress(console=shown, transient=True, redirect_stderr=False, disable=hidden)


@contextmanager
def working(what: str) -> Iterator[None]:
    """A bar for work whose steps are not known, such as loading a model."""
    with progress() as bar:
        bar.add_task(what, total=None)
        yield


def logged() -> str:
    """The end of what libraries wrote to stderr."""
    log = _log()
    log.flush()
    size = os.fstat(log.fileno()).st_size
    return os.pread(log.fileno(), LOG_BYTES, max(0, size - LOG_BYTES)).decode(errors="replace")


def _stderr() -> TextIO | None:
    return _taken[-1].own if _taken else sys.stderr


def _own(python: TextIO | None, system: int | None) -> TextIO:
    """Python's stderr as it is, or one on the copy where it writes to what is taken."""
    if python is not None and not _is_systems(python):
        return python
    target = os.devnull if system is None else system
    return open(target, "w", buffering=1, errors="backslashreplace", closefd=system is None)


def _is_systems(stream: TextIO) -> bool:
    try:
        return stream.fileno() == STDERR
    except (OSError, ValueError):  # in memory
        return False


@cache
def _log() -> TextIO:
    """Never closed: handlers of libraries hold on to it."""
    import tempfile  # not before Ctrl-C is handled

    try:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    except OSError:  # nowhere to write
        descriptor = os.open(os.devnull, os.O_RDWR)
    return open(descriptor, "w", buffering=1, errors="backslashreplace", closefd=False)
