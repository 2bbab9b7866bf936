"""Drawings that browsers sent, until somebody asks about them."""

from __future__ import annotations

from typing import Any

CANVAS = (448, 448)
"""Pixels of a drawing, (width, height)."""

MOST_DRAWINGS = 64
MOST_BYTES = 2_000_000
"""Of one drawing: more than twice what `CANVAS` takes uncompressed."""


class Drawings(dict[str, Any]):
    """What Gradio puts drawings in, by their ids: the oldest go, and too large ones never come."""

    def __setitem__(self, key: str, value: Any) -> None:
        """Raises `ValueError` for what no canvas of this page makes."""
        blobs = [value.background, value.composite, *value.layers]
        if sum(len(blob or b"") for blob in blobs) > MOST_BYTES:
            self.pop(key, None)  # which Gradio has changed already
            raise ValueError("the drawing is too large")
        super().__setitem__(key, value)
        while len(self) > MOST_DRAWINGS:
            del self[next(iter(self))]

    def drawn(self, key: str | None) -> bytes | None:
        """The whole drawing as an image's bytes, `None` where nothing was drawn."""
        sent = None if key is None else self.get(key)
        composite: bytes | None = sent and sent.composite
        return composite
