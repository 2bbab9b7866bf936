"""Drawn scenes and prompts to tune the embedded model on; none of its training or evaluation.

python benchmarks/scenes.py scenes
ipcv tune --images scenes --prompts scenes/prompts.txt
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.progress import track

from ipcv.bench.scenes import HELD_OUT, draw_scene

FIRST = HELD_OUT + 200_000
"""A seed that neither the held-out questions nor `selection.py` get to."""

SIDE = 448
PROMPTS = (
    "What number is written?",
    "What word is written?",
    "How many circles are there?",
    "How many red shapes are there?",
    "What colour is the square?",
    "What shape is blue?",
)


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=96)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for number in track(range(options.count), "drawing"):
        draw_scene(FIRST + number, (SIDE, SIDE)).image.save(options.folder / f"{number:04}.png")
    (options.folder / "prompts.txt").write_text("".join(f"{prompt}\n" for prompt in PROMPTS))


if __name__ == "__main__":
    main()
