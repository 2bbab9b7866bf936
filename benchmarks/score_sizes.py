"""Scores of the embedded model by size of picture, whole, compressed and downsampled.

    python benchmarks/score_sizes.py --questions 300

Writes ``benchmarks/results/sizes.json`` by default.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import Progress

from ipcv.bench.quality.intervals import proportion
from ipcv.bench.quality.records import Records
from ipcv.bench.quality.suite import evaluate_scenes, held_out_scenes
from ipcv.bench.variants import make_variants
from ipcv.core.output import write_json
from ipcv.inputs.loading import load
from ipcv.models import TINY
from write_tables import RESULTS

SIZES = ((224, 224), (448, 448), (672, 672), (896, 896), (560, 336), (224, 672))
"""Width and height."""

METHODS, RATIO = ("ipcv", "adaptive", "tome-decreasing", "downsample"), 0.5


def main() -> None:
    """Score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--questions", type=int, default=300, help="of each size")
    parser.add_argument("--json", type=Path, default=RESULTS / "sizes.json")
    options = parser.parse_args()
    model, processor = load(TINY)
    variants = make_variants(model, METHODS, [RATIO])
    result: dict[str, Any] = {}
    with Progress() as progress:
        for width, height in SIZES:
            name = f"{width} x {height}"
            scenes = list(held_out_scenes(options.questions, (width, height)))
            records, task = Records(None, {}), progress.add_task(name, total=len(scenes))
            advance = partial(progress.advance, task)
            evaluate_scenes(model, processor, scenes, variants, records, advance)
            right: dict[str, list[bool]] = {variant: [] for variant in variants}
            for row in records.rows:
                right[row["variant"]] += row["right"]
            result[name] = {
                variant: proportion(sum(hits), len(hits)) for variant, hits in right.items()
            }
    write_json(options.json, {"questions": options.questions, "sizes": result})


if __name__ == "__main__":
    main()
