"""A line and an exit status for what a command raised."""

from __future__ import annotations

import os
import platform
import tempfile
import traceback

from ipcv import __version__
from ipcv.cli.terminal import logged

REFUSED, FAULT = 1, 70
"""Exit statuses: of what a user can mend, and of all else."""

OURS = (ValueError, OSError, ImportError)
"""What is raised, with a message for the user, where something given or around cannot be used."""


def explain(error: Exception) -> tuple[str, int]:
    """One line, and the exit status. What is not foreseen goes into a log, which the line names."""
    text = " ".join(str(error).split())
    if isinstance(error, OURS):
        return text or type(error).__name__, REFUSED
    if _is_lack_of_memory(error):
        return f"out of memory: {text}" if text else "out of memory", REFUSED
    kind = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"a fault of ipcv ({kind}); {_kept(error)}", FAULT


def _is_lack_of_memory(error: Exception) -> bool:
    """Also torch's, which are not imported for that, and of the CPU's allocator have no class."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def _kept(error: Exception) -> str:
    """Where the log is."""
    lines = [f"ipcv {__version__}, python {platform.python_version()}\n"]
    lines += [*traceback.format_exception(error), "\nWhat libraries said:\n", logged()]
    try:
        descriptor, path = tempfile.mkstemp(prefix="ipcv-", suffix=".log", text=True)
        with os.fdopen(descriptor, "w", errors="backslashreplace") as file:
            file.writelines(lines)
    except OSError as problem:
        return f"no log could be written: {problem}"
    return f"the log is {path}"
