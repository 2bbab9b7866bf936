"""Ctrl-C at any moment: exit status 130 and one line."""

from __future__ import annotations

import _thread
import os
import signal
import sys

from ipcv import TYPE_CHECKING  # typing and contextlib are slow: Ctrl-C is not handled yet

if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

INTERRUPTED = 130


def _print(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


class Interrupts:
    """Handles Ctrl-C inside a `with`.

    Attributes:
        keep: whether to handle it to the end of the process.
        can_unwind: whether there is something to clean up. Where not, Ctrl-C ends the process at
            once, as imports cut short raise anything; the second time it does so anyway.
        pressed: whether Ctrl-C was pressed.
    """

    def __init__(self, keep: bool) -> None:
        self.keep = keep
        self.can_unwind = self.pressed = self.told = False

    def __enter__(self) -> Interrupts:
        self._before = signal.signal(signal.SIGINT, self._handle), sys.unraisablehook
        sys.unraisablehook = self._retry
        return self

    def __exit__(self, *_: object) -> None:
        if not self.keep:
            signal.signal(signal.SIGINT, self._before[0])
            sys.unraisablehook = self._before[1]

    def tell(self) -> int:
        """Say so, once. The exit status."""
        exec("")  # else Python kills itself where what it ran from a string was interrupted
        if not self.told:
            self.told = True
            terminal = sys.modules.get("ipcv.cli.terminal")
            say = getattr(terminal, "say", _print)  # not there amid its import
            say("ipcv: interrupted")
        return INTERRUPTED

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.pressed or not self.can_unwind:
            try:
                self.tell()
            finally:  # also amid another write
                os._exit(INTERRUPTED)
        self.pressed = True
        raise KeyboardInterrupt

    def _retry(self, unraisable: Any) -> None:
        """Where Python cannot raise, as in a finalizer, a KeyboardInterrupt is raised behind it."""
        if unraisable.exc_type is KeyboardInterrupt:
            self.pressed = False
            _thread.interrupt_main()
        else:
            sys.__unraisablehook__(unraisable)
