"""Score the shipped model on held-out scenes, with and without compression, into a JSON file.

    python tools/score_tiny.py --questions 1000

Rows that the file has already are not scored again. ``tools/write_card.py`` makes the tables of the
model card and the README from it.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.progress import Progress
from torch import Tensor, nn

import ipcv
from ipcv.bench.clock import milliseconds
from ipcv.bench.compare import Variant
from ipcv.bench.flops import count_flops
from ipcv.bench.scenes import Scene
from ipcv.bench.suite import Scores, answer_prior, evaluate, held_out_scenes
from ipcv.encoders.registry import adapter_for
from ipcv.loading import load
from ipcv.models import TINY
from ipcv.prompt import Media, build_inputs

RATIOS = (0.35, 0.5, 0.65, 0.8)
SIDES = (336, 280, 224)
REPETITIONS = 15
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "tiny.json"


@dataclass(frozen=True)
class Row:
    """How the model is run, and what is done to the image first."""

    variant: Variant
    prepare: Callable[[Image.Image], Image.Image] = lambda image: image


def blank(image: Image.Image) -> Image.Image:
    """A grey image of the same size."""
    return Image.new("RGB", image.size, (128, 128, 128))


def shrink_to(side: int) -> Callable[[Image.Image], Image.Image]:
    """Downsampling to a square."""
    return lambda image: image.resize((side, side), Image.Resampling.LANCZOS)


def of_next(scenes: list[Scene]) -> Callable[[Image.Image], Image.Image]:
    """The image of the scene that comes after, for a score without the right image."""
    following = {id(a.image): b.image for a, b in zip(scenes, scenes[1:] + scenes[:1], strict=True)}
    return lambda image: following[id(image)]


def table_rows(model: Any, scenes: list[Scene]) -> dict[str, Row]:
    """All rows of the table, by name."""
    settings = ipcv.preset(model)
    assert isinstance(settings.language, ipcv.DART)
    rows = {
        "uncompressed": Row(Variant()),
        "blank image": Row(Variant(), blank),
        "image of another scene": Row(Variant(), of_next(scenes)),
    }
    for ratio in RATIOS:
        vision = replace(settings.vision, reduction_ratio=ratio)
        language = replace(settings.language, reduction_ratio=ratio)
        rows[f"IPCV {ratio}"] = Row(Variant(vision))
        rows[f"DART {ratio}"] = Row(Variant(language=language))
        rows[f"IPCV + DART {ratio}"] = Row(Variant(vision, language))
    early = replace(settings.vision, prune_layer=1)
    rows[f"IPCV {early.reduction_ratio}, prune_layer 1"] = Row(Variant(early))
    for side in SIDES:
        rows[f"downsampled to {side} px"] = Row(Variant(), shrink_to(side))
    return rows


@contextmanager
def encoding_once(encoder: nn.Module) -> Iterator[None]:
    """Encode one image of each call and repeat the result: all prompts of a call share theirs.

    That changes no number, for what an image gives does not depend on the others in its call.
    """
    copies: list[int] = []

    def keep_first(_: Any, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> Any:
        pixels, grid = args[0], kwargs["grid_thw"]
        copies.append(len(grid))
        return (pixels[: len(pixels) // len(grid)],), kwargs | {"grid_thw": grid[:1]}

    def repeat(_: Any, args: Any, output: Any) -> None:
        output.pooler_output = output.pooler_output.repeat(copies.pop(), 1)

    before = encoder.register_forward_pre_hook(keep_first, with_kwargs=True, prepend=True)
    after = encoder.register_forward_hook(repeat)
    try:
        yield
    finally:
        before.remove()
        after.remove()


def encoder_cost(
    model: Any, processor: Any, rows: dict[str, Row], scene: Scene
) -> dict[str, dict[str, float]]:
    """GFLOPs of the encoder on one image, and its time relative to the uncompressed one.

    All rows take turns; of each the median over the repetitions.
    """
    adapter = adapter_for(model)
    inputs, times = {}, {name: list[float]() for name in rows}
    for name, row in rows.items():
        media = [Media((row.prepare(scene.image),))]
        prompt = build_inputs(model, processor, media, scene.questions[0].text)
        inputs[name] = prompt["pixel_values"], prompt["image_grid_thw"]
    gflops = {}
    for repetition in range(REPETITIONS + 1):
        for name, row in rows.items():
            with torch.inference_mode(), row.variant.applied(model):
                if repetition == 0:
                    gflops[name] = count_flops(lambda: adapter.encoder(*inputs[name])) / 1e9  # noqa: B023
                start = milliseconds()
                adapter.encoder(*inputs[name])
                times[name].append(milliseconds() - start)
    median = {name: statistics.median(values[1:]) for name, values in times.items()}
    return {
        name: {
            "encoder_gflops": gflops[name],
            "encoder_time_ratio": median[name] / median["uncompressed"],
        }
        for name in rows
    }


def summary(scores: Scores) -> dict[str, Any]:
    """Scores as JSON types."""
    return {"overall": scores.overall, "by_kind": scores.by_kind}


def score(
    model: Any, processor: Any, scenes: list[Scene], rows: dict[str, Row], results: Path
) -> None:
    """Score the rows that the file lacks, and write it after each."""
    done = json.loads(results.read_text()) if results.exists() else {}
    questions = [question for scene in scenes for question in scene.questions]
    done["questions"], done["prior"] = len(questions), summary(answer_prior(questions))
    done["settings"] = asdict(ipcv.preset(model).vision)
    scored: dict[str, Any] = done.setdefault("rows", {})
    with Progress() as progress:
        for name, row in progress.track(rows.items(), description="rows"):
            if name in scored:
                continue
            task = progress.add_task(name, total=len(scenes))
            with row.variant.applied(model), encoding_once(adapter_for(model).encoder):
                result = evaluate(
                    model,
                    processor,
                    scenes,
                    row.prepare,
                    lambda: progress.advance(task),  # noqa: B023
                )
            scored[name] = summary(result)
            results.write_text(json.dumps(done, indent=2) + "\n")


def add_costs(results: Path, costs: dict[str, dict[str, float]]) -> None:
    """Write the encoder's cost into the rows of the file."""
    done = json.loads(results.read_text())
    for name, cost in costs.items():
        done["rows"][name] |= cost
    results.write_text(json.dumps(done, indent=2) + "\n")


def pick(rows: dict[str, Row], names: Iterable[str] | None) -> dict[str, Row]:
    """The rows whose name contains one of the words; all without words."""
    return {k: v for k, v in rows.items() if not names or any(word in k for word in names)}


def main() -> None:
    """Parse the options and score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default=str(TINY))
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--rows", nargs="*", metavar="WORD", help="only rows that contain one")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.results.parent.mkdir(parents=True, exist_ok=True)
    model, processor = load(options.model)
    scenes = list(held_out_scenes(options.questions))
    rows = pick(table_rows(model, scenes), options.rows)
    score(model, processor, scenes, rows, options.results)
    add_costs(options.results, encoder_cost(model, processor, rows, scenes[0]))


if __name__ == "__main__":
    main()
