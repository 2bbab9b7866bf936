"""A screening of ways to keep patches and rebuild the others, at equal FLOPs, for ``selection.md``.

    pip install "ipcv[eval]" scikit-learn pypdfium2
    python benchmarks/pictures.py pictures
    python benchmarks/selection.py facebook/dinov2-small pictures

On calibration images, and on scenes that are no held-out ones. Goes on from where it was
interrupted: single results are kept in ``--work``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.progress import Progress
from torch import nn

from ipcv import IPCV
from ipcv.bench.cost.flops import count_flops
from ipcv.bench.cost.workload import Workload
from ipcv.bench.environment import environment
from ipcv.bench.quality.estimates import qualities
from ipcv.bench.quality.fidelity import evaluate_images, find_images
from ipcv.bench.quality.observe import observer
from ipcv.bench.quality.records import Records
from ipcv.bench.quality.suite import evaluate_scenes
from ipcv.bench.quality.table import fidelity_summary, suite_summary
from ipcv.bench.scenes import HELD_OUT, draw_scene
from ipcv.bench.variants import UNCOMPRESSED, Variant, make_variants
from ipcv.core.output import write_json
from ipcv.families import adapter_for
from ipcv.inputs.loading import load
from ipcv.inputs.media import load_image
from ipcv.models import TINY
from ipcv.vision.reconstruction import RECONSTRUCTORS
from ipcv.vision.selectors import SELECTORS
from write_selection import write

RESULTS = Path(__file__).parent / "results"
SIDE = 448
CALIBRATION = HELD_OUT + 100_000
"""The seed of the first scene to screen on; the held-out questions never get that far."""

NAMED = ("published", "adaptive", "tome", "tome-decreasing", "downsample")
RATIOS = (0.65, 0.8)


def candidates(model: nn.Module) -> dict[str, Variant]:
    """What is screened: named methods, and parts of IPCV in all pairs that tell."""
    pairs = [(selector, "linear") for selector in SELECTORS]
    pairs += [("difference", reconstruction) for reconstruction in RECONSTRUCTORS]
    pairs += [("random", "mean")]
    parts = {
        f"{s} / {r}": Variant(IPCV(2, 0.65, 0, selector=s, reconstruction=r)) for s, r in pairs
    }
    mixed = make_variants(model, ["downsample+adaptive"], (0.35, 0.5))
    return make_variants(model, NAMED, RATIOS) | mixed | parts


def flops(run: Callable[[Variant], object], variants: Mapping[str, Variant]) -> dict[str, float]:
    """Of each variant, relative to uncompressed."""
    counts = {name: count_flops(lambda v=v: run(v)) for name, v in variants.items()}  # type: ignore[misc]
    return {name: count / counts[UNCOMPRESSED] for name, count in counts.items()}


def sample(folder: Path, count: int) -> list[Path]:
    """So many images, evenly, and equally many of every kind."""
    kinds: dict[Path, list[Path]] = {}
    for path in find_images(folder):
        kinds.setdefault(path.parent, []).append(path)
    each = count // len(kinds)
    steps = {kind: len(paths) // each for kind, paths in kinds.items()}
    return [p for kind, own in kinds.items() for p in own[steps[kind] // 2 :: steps[kind]][:each]]


def screen_photos(model: nn.Module, folder: Path, work: Path, count: int) -> dict[str, Any]:
    """Cosine and FLOPs of all candidates on a few calibration images."""
    chosen = work / f"calibration-{count}"
    for path in sample(folder, count):
        link = chosen / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(path.resolve())
    variants, observe = candidates(model), observer(model, None, side=SIDE)
    kept = Records(work / "screen-photos.jsonl", {"task": "screen", "images": count})
    with Progress(transient=True) as progress:
        bar = progress.add_task("screening on photos", total=len(find_images(chosen)))
        evaluate_images(chosen, variants, observe, kept, lambda: progress.advance(bar))
    image = load_image(find_images(chosen)[0])
    cost = flops(lambda variant: observe(image, variant), variants)
    found = qualities(kept.rows, "image", "cosine", cost)
    return {"images": count, "variants": fidelity_summary(kept.rows, found)}


def screen_scenes(model: nn.Module, processor: Any, work: Path, count: int) -> dict[str, Any]:
    """Right answers and encoder FLOPs of all candidates on a few scenes."""
    variants = candidates(model)
    kept = Records(work / "screen-scenes.jsonl", {"task": "screen", "scenes": count})
    scenes = [draw_scene(CALIBRATION + i, (SIDE, SIDE)) for i in range(count)]
    with Progress(transient=True) as progress:
        bar = progress.add_task("screening on scenes", total=count)
        advance = lambda: progress.advance(bar)  # noqa: E731
        evaluate_scenes(model, processor, scenes, variants, kept, advance)

    def encode(variant: Variant) -> None:
        with variant.applied(model):
            adapter_for(model).encoder(
                **Workload(SIDE).shrunk(variant.downsample).for_encoder(model)
            )

    found = qualities(kept.rows, "scene", "right", flops(encode, variants))
    return {"scenes": count, "variants": suite_summary(kept.rows, found)}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("dinov2", help="folder or hub id")
    parser.add_argument("photos", type=Path, help="what pictures.py made")
    parser.add_argument("--work", type=Path, default=Path("selection"))
    parser.add_argument("--images", type=int, default=24, help="to screen on")
    parser.add_argument("--scenes", type=int, default=12, help="to screen on")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    dinov2, _ = load(options.dinov2, encoder_alone=True)
    tiny, processor = load(str(TINY))
    results = {
        "environment": environment(dinov2),
        "photos": screen_photos(
            dinov2, options.photos / "calibration", options.work, options.images
        ),
        "scenes": screen_scenes(tiny, processor, options.work, options.scenes),
    }
    write_json(RESULTS / "selection-screening.json", results)
    write()


if __name__ == "__main__":
    main()
