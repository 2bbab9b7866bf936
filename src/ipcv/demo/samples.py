"""Example pictures with a question each, drawn when the page starts."""

from __future__ import annotations

from pathlib import Path

from ipcv.bench.scenes import HELD_OUT
from ipcv.bench.scenes.pictures import DRAWN, draw_picture

SAMPLE_KINDS = (DRAWN, "photo", "page", "screen", "chart")
"""Of pictures, one of each."""


def draw_samples(folder: Path, seed: int = HELD_OUT) -> list[tuple[Path, str]]:
    """Draw one picture of each of `SAMPLE_KINDS` into a folder: files, and questions about them."""
    found = []
    for kind in SAMPLE_KINDS:
        scene = draw_picture(kind, seed)
        path = folder / f"{kind}.png"
        scene.image.save(path)
        found.append((path, scene.questions[0].text))
    return found
