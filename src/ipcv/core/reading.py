"""Text files that users name: plain ones, not too large, in UTF-8."""

from __future__ import annotations

from pathlib import Path

TEXT_BYTES = 1 << 30
"""Larger files are no settings, prompts or records."""


def read_text(path: Path) -> str:
    """What the file holds.

    Raises:
        ValueError: there is no such file, or it is none to read text from.
    """
    try:
        if not path.is_file():
            raise ValueError("it is not a file" if path.exists() else "No such file or directory")
        if path.stat().st_size > TEXT_BYTES:
            raise ValueError("it is too large")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} cannot be read: it is no text in UTF-8") from None
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
