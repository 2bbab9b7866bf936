"""Exceptions in one line."""

from __future__ import annotations

from textwrap import shorten

LONGEST = 1000
"""Characters of a line; libraries list what they know."""


def one_line(error: BaseException) -> str:
    """What an exception of a library says, with its type where that says more than the text."""
    text = shorten(str(error), LONGEST, placeholder=" …")
    is_told = text and isinstance(error, OSError | ValueError | ImportError)
    return text if is_told else f"{type(error).__name__}: {text}".removesuffix(": ")
