"""The `ipcv` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from ipcv.cli import terminal
from ipcv.cli.faults import explain
from ipcv.cli.interrupts import Interrupts, handled

_until_the_end = ExitStack()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and exit.

    Statuses: 0; 1 or 2 and one line on stderr for what a user can mend; 130 and one line after
    Ctrl-C; 70 for a fault of ours, and a line that says where its log is.

    Args:
        arguments: those of the process by default; stderr and Ctrl-C stay the command's, then.
    """
    interrupts = Interrupts(terminal.say)
    with ExitStack() as stack:
        stack.enter_context(terminal.owned())
        stack.enter_context(handled(interrupts))
        status = _status(arguments, interrupts)
        interrupts.can_unwind = False
        if arguments is None:
            _until_the_end.push(stack.pop_all())
    sys.exit(status)


def _status(arguments: Sequence[str] | None, interrupts: Interrupts) -> int:
    try:
        from ipcv.cli.app import execute

        interrupts.can_unwind = True
        status = execute(arguments)
    except KeyboardInterrupt:
        interrupts.pressed = True
    except BrokenPipeError:  # who reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if not interrupts.pressed:  # else whatever came of it
            message, status = explain(error)
            terminal.say(f"ipcv: {message}")
    return interrupts.tell() if interrupts.pressed or status == 130 else status
