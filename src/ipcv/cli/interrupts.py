"""Ctrl-C at any moment: exit status 130 and one line."""

from __future__ import annotations

import _thread
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

STATUS = 130


class Interrupts:
    """What Ctrl-C does.

    Attributes:
        can_unwind: whether there is something to clean up: before, Ctrl-C ends the process at once,
            as imports cut short raise anything. It does so the second time, too.
        pressed: whether Ctrl-C was pressed.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.can_unwind = self.pressed = self.told = False
        self.say = say

    def tell(self) -> int:
        """Say so, once. The exit status."""
        if not self.told:
            self.told = True
            self.say("ipcv: interrupted")
        return STATUS

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal."""
        if self.pressed or not self.can_unwind:
            with suppress(RuntimeError):  # amid another write
                self.tell()
            os._exit(STATUS)
        self.pressed = True
        raise KeyboardInterrupt

    def retry(self, unraisable: Any) -> None:
        """Where Python cannot raise, as in a finalizer, a KeyboardInterrupt is raised behind it."""
        if unraisable.exc_type is KeyboardInterrupt:
            self.pressed = False
            _thread.interrupt_main()
        else:
            sys.__unraisablehook__(unraisable)


@contextmanager
def handled(interrupts: Interrupts) -> Iterator[None]:
    """Let these handle Ctrl-C."""
    before = signal.signal(signal.SIGINT, interrupts), sys.unraisablehook
    sys.unraisablehook = interrupts.retry
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before[0])
        sys.unraisablehook = before[1]
