"""Controls of the embedded model: scores on the wrong image, and what it could guess.

    python benchmarks/score_controls.py --questions 1000

Writes ``benchmarks/results/controls.json``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from PIL import Image
from rich.progress import Progress

from ipcv.bench.quality.intervals import Estimate, proportion
from ipcv.bench.quality.records import Records
from ipcv.bench.quality.suite import answer_prior, evaluate_scenes, held_out_scenes
from ipcv.bench.scenes import Scene
from ipcv.bench.variants import Variant
from ipcv.core.output import write_json
from ipcv.inputs.loading import load
from ipcv.models import TINY
from write_tables import RESULTS


def controls(scenes: Sequence[Scene]) -> dict[str, list[Scene]]:
    """The scenes with other images, by name."""
    following = [*scenes[1:], scenes[0]]
    grey = (128, 128, 128)
    return {
        "uncompressed": list(scenes),
        "blank image": [replace(s, image=Image.new("RGB", s.image.size, grey)) for s in scenes],
        "image of another scene": [
            replace(scene, image=other.image)
            for scene, other in zip(scenes, following, strict=True)
        ],
    }


def by_kind(counts: dict[str, tuple[int, int]]) -> dict[str, Estimate]:
    """Shares from right and asked, overall and by kind."""
    right, asked = (sum(numbers) for numbers in zip(*counts.values(), strict=True))
    kinds = {kind: proportion(*pair) for kind, pair in counts.items()}
    return {"overall": proportion(right, asked), **kinds}


def main() -> None:
    """Score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--questions", type=int, default=1000)
    options = parser.parse_args()
    model, processor = load(TINY)
    scenes = list(held_out_scenes(options.questions))
    result: dict[str, Any] = {}
    with Progress() as progress:
        for name, shown in controls(scenes).items():
            task, records = progress.add_task(name, total=len(shown)), Records(None, {})
            evaluate_scenes(
                model,
                processor,
                shown,
                {name: Variant()},
                records,
                lambda: progress.advance(task),  # noqa: B023
            )
            counts: dict[str, tuple[int, int]] = {}
            for row in records.rows:
                for kind, is_right in zip(row["kinds"], row["right"], strict=True):
                    right, asked = counts.get(kind, (0, 0))
                    counts[kind] = right + is_right, asked + 1
            result[name] = by_kind(counts)
    result["answer prior"] = by_kind(answer_prior(q for s in scenes for q in s.questions))
    write_json(RESULTS / "controls.json", {"questions": options.questions, "variants": result})


if __name__ == "__main__":
    main()
