"""Removing patches block by block instead of all at once."""

from ipcv.progressive.method import Progressive

__all__ = ["Progressive"]
