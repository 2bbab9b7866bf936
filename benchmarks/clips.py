"""Fidelity of the embedded model's encoder on clips that it gets as videos, method by method.

    python benchmarks/clips.py

Each frame fills a temporal patch, as an image does, for such is all that the encoder has learned.
Writes ``benchmarks/results/clips.json`` by default.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from torch import Tensor

from ipcv.bench.clock import metered
from ipcv.bench.quality.estimates import qualities
from ipcv.bench.quality.fidelity import Observation, compare
from ipcv.bench.quality.intervals import mean
from ipcv.bench.quality.records import Row
from ipcv.bench.quality.relative_time import relative_times
from ipcv.bench.quality.report import Report
from ipcv.bench.scenes import HELD_OUT, Scene
from ipcv.bench.scenes.pictures import VIDEO, draw_picture
from ipcv.bench.variants import RATIOS, UNCOMPRESSED, Variant, make_variants
from ipcv.core.output import write_json
from ipcv.families import adapter_for
from ipcv.inputs.loading import load
from ipcv.models import TINY
from write_tables import RESULTS

METHODS = ("ipcv", "adaptive", "published", "pixelprune", "run-length", "downsample")
SIZE = (224, 224)
NAMES = {"direction": "still", "flash": "still", "camera": "pan", "first": "cuts", "last": "screen"}
"""Kinds of clips, by the questions that they allow."""


class Encoder:
    """The embedded model's, which takes clips as videos."""

    def __init__(self) -> None:
        self.model, self.processor = load(TINY)
        self.adapter = adapter_for(self.model)

    @torch.inference_mode()
    def __call__(self, clip: Scene, variant: Variant) -> tuple[list[Observation], float]:
        """The visual tokens of each frame, and milliseconds for all."""
        shrink = variant.downsample or (lambda frame: frame)
        inputs = self.processor.image_processor(
            [shrink(frame) for frame in clip.frames], return_tensors="pt"
        )
        rows, columns = inputs["image_grid_thw"][0, 1:].tolist()
        grid = torch.tensor([[len(clip.frames), rows, columns]])
        encoder = self.adapter.encoder
        with variant.applied(self.model), metered(encoder) as ms:
            tokens: Tensor = encoder(inputs["pixel_values"], grid_thw=grid).pooler_output
        merge = encoder.spatial_merge_size
        cells = rows // merge, columns // merge
        frames = tokens.float().chunk(len(clip.frames))
        return [Observation(one, cells, 0.0) for one in frames], sum(ms)

    def rows(self, number: int, clip: Scene, variants: dict[str, Variant]) -> list[Row]:
        """How close each variant comes to the uncompressed encoder, frames averaged."""
        expected, _ = self(clip, variants[UNCOMPRESSED])
        result = []
        for name, variant in variants.items():
            seen = expected if name == UNCOMPRESSED else self(clip, variant)[0]
            compared = [compare(one, own) for one, own in zip(seen, expected, strict=True)]
            scores = {
                score: sum(row[score] for row in compared) / len(compared)
                for score in ("cosine", "recall")
            }
            result.append({"clip": number, "variant": name, **scores})
        return result


def kind_of(clip: Scene) -> str:
    """What kind of clip it is."""
    return NAMES[clip.questions[0].kind.removeprefix("video-")]


def report(
    clips: list[Scene], rows: list[Row], times: dict[str, float], variants: dict[str, Variant]
) -> dict[str, Any]:
    """Cosine over all and by kind, and recall, in JSON types."""
    found = qualities(rows, "clip", "cosine", times)
    kinds = {
        kind: qualities(
            [row for row in rows if kind_of(clips[row["clip"]]) == kind], "clip", "cosine", times
        )
        for kind in sorted(set(map(kind_of, clips)))
    }
    summary = {
        name: {
            "time": times[name],
            "cosine": found[name].estimate,
            "recall": mean([row["recall"] for row in rows if row["variant"] == name]),
        }
        | {kind: own[name].estimate for kind, own in kinds.items()}
        for name in variants
    }
    return Report("cosine", summary, found, kinds).to_dict()


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--json", type=Path, default=RESULTS / "clips.json")
    options = parser.parse_args()
    encoder = Encoder()
    variants = make_variants(encoder.model, METHODS, RATIOS)
    clips = [draw_picture(VIDEO, HELD_OUT + seed, SIZE) for seed in range(options.clips)]
    rows = list[Row]()
    with Progress() as progress:
        for number, clip in enumerate(progress.track(clips, description="clips")):
            rows += encoder.rows(number, clip, variants)
        task = progress.add_task("times", total=4)
        times = relative_times(
            clips, variants, lambda c, v: encoder(c, v)[1], lambda: progress.advance(task)
        )
    write_json(options.json, {"clips": len(clips)} | report(clips, rows, times, variants))


if __name__ == "__main__":
    main()
