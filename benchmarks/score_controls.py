"""Controls of the embedded model: scores on the wrong image, and what it could guess.

    python benchmarks/score_controls.py --questions 1000 --picture drawn
    python benchmarks/score_controls.py --picture page --picture screen --json pages.json

Writes ``benchmarks/results/controls.json`` by default.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from rich.progress import Progress

from ipcv.bench.quality.intervals import Estimate, proportion
from ipcv.bench.quality.kinds import question_groups
from ipcv.bench.quality.records import Records
from ipcv.bench.quality.suite import PICTURE_SIDE, answer_prior, evaluate_scenes, held_out_scenes
from ipcv.bench.scenes import Scene
from ipcv.bench.scenes.pictures import PICTURES, check_pictures
from ipcv.bench.variants import Variant
from ipcv.core.output import write_json
from ipcv.inputs.loading import load
from ipcv.models import TINY
from write_tables import RESULTS


def controls(scenes: Sequence[Scene], pictures: int = 1) -> dict[str, list[Scene]]:
    """The scenes with other images, by name; so many kinds of pictures take turns in them."""
    following = [*scenes[pictures:], *scenes[:pictures]]
    grey = (128, 128, 128)
    return {
        "uncompressed": list(scenes),
        "blank image": [
            s.showing([Image.new("RGB", f.size, grey) for f in s.frames]) for s in scenes
        ],
        "image of another scene": [
            scene.showing(other.frames) for scene, other in zip(scenes, following, strict=True)
        ],
    }


def by_kind(counts: dict[str, tuple[int, int]]) -> dict[str, Estimate]:
    """Shares from right and asked, overall, by picture where there are several, and by kind."""
    groups = {"overall": set(counts), **question_groups(counts)}
    return {
        name: proportion(*(sum(counts[kind][i] for kind in kinds) for i in (0, 1)))
        for name, kinds in groups.items()
    }


def main() -> None:
    """Score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--picture", action="append", choices=PICTURES)
    parser.add_argument(
        "--size", type=int, nargs=2, default=(PICTURE_SIDE, PICTURE_SIDE), help="width, height"
    )
    parser.add_argument("--model", type=Path, default=TINY)
    parser.add_argument("--json", type=Path, default=RESULTS / "controls.json")
    options = parser.parse_args()
    model, processor = load(options.model)
    pictures = check_pictures(options.picture)
    scenes = list(held_out_scenes(options.questions, tuple(options.size), pictures))
    result: dict[str, Any] = {}
    with Progress() as progress:
        for name, shown in controls(scenes, len(pictures)).items():
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
    settings = {"questions": options.questions, "size": list(options.size)}
    write_json(options.json, settings | {"variants": result})


if __name__ == "__main__":
    main()
