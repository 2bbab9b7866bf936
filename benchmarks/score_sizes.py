"""Scores of the embedded model by size of picture, whole, compressed and downsampled.

    python benchmarks/score_sizes.py --questions 300

Writes ``benchmarks/results/sizes.json`` by default.
"""

from __future__ import annotations

import argparse
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
        for size in SIZES:
            scenes, records = list(held_out_scenes(options.questions, size)), Records(None, {})
            task = progress.add_task("{} x {}".format(*size), total=len(scenes))
            step = (model, processor, scenes, variants, records, lambda: progress.advance(task))  # noqa: B023
            evaluate_scenes(*step)
            right: dict[str, list[bool]] = {name: [] for name in variants}
            for row in records.rows:
                right[row["variant"]] += row["right"]
            result["{} x {}".format(*size)] = {
                name: proportion(sum(hits), len(hits)) for name, hits in right.items()
            }
    write_json(options.json, {"questions": options.questions, "sizes": result})


if __name__ == "__main__":
    main()
