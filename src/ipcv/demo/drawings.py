"""Drawings: a canvas for the pointer, and what a browser sends of it."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

CANVAS_SIDE = 448
"""Pixels of a drawing, in both directions."""

PREFIX = "data:image/png;base64,"
LONGEST_DRAWING = 2_000_000
"""Of a drawing as it is sent: twice what `CANVAS_SIDE` takes uncompressed."""

CANVAS = f"""
<canvas width="{CANVAS_SIDE}" height="{CANVAS_SIDE}" aria-label="Drawing"></canvas>
<p>
  <label>Colour <input type="color" value="#1f5fbf"></label>
  <button type="button">Clear</button>
</p>
"""
CANVAS_STYLE = """
canvas {
  display: block;
  width: 320px;
  max-width: 100%;
  margin: auto;
  border: 1px solid var(--border-color-primary);
  touch-action: none;
  cursor: crosshair;
}
p { display: flex; justify-content: center; align-items: center; gap: 1rem; margin: 0.5rem 0 0; }
button { background: var(--block-background-fill) !important; }
label { display: flex; align-items: center; gap: 0.5rem; }
"""
CANVAS_SCRIPT = (Path(__file__).parent / "canvas.js").read_text(encoding="utf-8")


def decoded(sent: object) -> bytes:
    """A drawing as an image's bytes. Raises `ValueError` for what no canvas of this page sends."""
    if not isinstance(sent, str) or not sent.startswith(PREFIX) or len(sent) > LONGEST_DRAWING:
        raise ValueError("the drawing is too large, or none")
    return b64decode(sent.removeprefix(PREFIX), validate=True)
