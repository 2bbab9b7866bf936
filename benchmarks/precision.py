"""The same answers and features in bf16 on a device as in fp32 on the CPU.

    python benchmarks/precision.py precision.json --device cuda
    python benchmarks/precision.py precision.json --dinov2 facebook/dinov2-small --photos photos

The embedded model answers questions of the suite, and a vision encoder sees photos, each
uncompressed and by the library's own methods. What is there is written scene by scene.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from ipcv.bench.quality.fidelity import compare, find_images
from ipcv.bench.quality.intervals import mcnemar
from ipcv.bench.quality.observe import observer
from ipcv.bench.quality.suite import ask_variant, held_out_scenes
from ipcv.bench.variants import UNCOMPRESSED, Variant
from ipcv.core.output import write_json
from ipcv.inputs.loading import load
from ipcv.inputs.media import load_image
from ipcv.models import TINY
from methods import RIVALS, measured_variants

RATIO = 0.5
SIDE = 448
Loaded = dict[str, tuple[Any, Any]]


def loaded(name: str | Path, device: str) -> Loaded:
    """Model and processor, by dtype."""
    return {
        "bfloat16": load(name, dtype="bfloat16", device=device, encoder_alone=True),
        "float32": load(name, dtype="float32", device="cpu", encoder_alone=True),
    }


def own_variants(models: Loaded) -> dict[str, Variant]:
    """Uncompressed and the library's own methods."""
    variants = measured_variants(models["float32"][0], RATIO)
    return {name: variant for name, variant in variants.items() if name not in RIVALS}


def questions(device: str, number: int) -> Iterator[dict[str, Any]]:
    """After each scene, per variant, the right answers in both dtypes and how many are the same."""
    models = loaded(TINY, device)
    variants, right = own_variants(models), dict[tuple[str, str], list[bool]]()
    same = dict.fromkeys(variants, 0)
    for scene in held_out_scenes(number):
        for name, variant in variants.items():
            given = {dtype: ask_variant(*pair, scene, variant)[0] for dtype, pair in models.items()}
            for dtype, answers in given.items():
                pairs = zip(answers, scene.questions, strict=True)
                right.setdefault((name, dtype), []).extend(a == q.answer for a, q in pairs)
            same[name] += sum(a == b for a, b in zip(*given.values(), strict=True))
        yield {
            name: {
                "questions": len(right[name, "float32"]),
                "same_answers": same[name],
                "p": mcnemar(right[name, "bfloat16"], right[name, "float32"]),
                **{dtype: sum(right[name, dtype]) for dtype in models},
            }
            for name in variants
        }


def features(device: str, encoder: str, photos: Path) -> dict[str, Any]:
    """Per variant, the mean cosine to the uncompressed encoder of the same dtype."""
    models, cosines = loaded(encoder, device), dict[tuple[str, str], list[float]]()
    variants, paths = own_variants(models), find_images(photos)
    for dtype, (model, _) in models.items():
        observe = observer(model, None, side=SIDE)
        for image in map(load_image, paths):
            reference = observe(image, variants[UNCOMPRESSED])
            for name, variant in variants.items():
                cosine = compare(observe(image, variant), reference)["cosine"]
                cosines.setdefault((name, dtype), []).append(cosine)
    return {
        name: {"images": len(paths), **{dtype: mean(cosines[name, dtype]) for dtype in models}}
        for name in variants
    }


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", type=Path, help="JSON with the results")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--dinov2", help="folder or hub id of a vision encoder")
    parser.add_argument("--photos", type=Path, help="folder of images for it")
    return parser.parse_args()


def main() -> None:
    """Answers, then features where there are weights and photos."""
    options = parsed()
    results: dict[str, Any] = {"questions": {}, "features": {}}
    for results["questions"] in questions(options.device, options.questions):
        write_json(options.file, results)
    if options.dinov2:
        results["features"] = features(options.device, options.dinov2, options.photos)
        write_json(options.file, results)
    print(results)


if __name__ == "__main__":
    main()
