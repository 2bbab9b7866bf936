"""The `ipcv` command."""

from __future__ import annotations

import os
import sys

from ipcv import TYPE_CHECKING
from ipcv.cli.interrupts import Interrupts

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and exit.

    Statuses: 0; 1 or 2 and one line on stderr for what a user can mend; 130 and one line after
    Ctrl-C; 70 for a fault of ours, and a line that says where its log is.

    Args:
        arguments: those of the process by default; stderr and Ctrl-C stay the command's, then.
    """
    whole_process = arguments is None
    with Interrupts(keep=whole_process) as interrupts:
        from ipcv.cli import terminal

        with terminal.owned(keep=whole_process):
            status = _status(arguments, interrupts)
            interrupts.can_unwind = False
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
            from ipcv.cli.faults import explain
            from ipcv.cli.terminal import say

            message, status = explain(error)
            say(f"ipcv: {message}")
    return interrupts.tell() if interrupts.pressed else status
