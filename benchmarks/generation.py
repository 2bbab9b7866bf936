"""Whole models, random weights: time to the first token, and tokens per second.

    python benchmarks/generation.py generation.json --shape qwen2-vl-2b --device cuda

Both sides are on: each method of the vision encoder with DART in the language model, and each side
alone. The requests are one batch. Random weights say nothing about answers.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from ipcv.bench.cost.measure import Job, measure
from ipcv.bench.cost.shapes import DIMENSIONS
from ipcv.bench.cost.subject import load_subject
from ipcv.bench.cost.table import rows
from ipcv.bench.cost.workload import Workload
from ipcv.bench.generation import generate
from ipcv.bench.variants import make_variants
from ipcv.core.output import write_json
from methods import RATIO, measured_methods

LANGUAGE = "dart"


def batched(inputs: dict[str, Any], requests: int) -> dict[str, Any]:
    """So many requests of one prompt, whose images are packed one after the other."""
    return {name: x.repeat(requests, *[1] * (x.dim() - 1)) for name, x in inputs.items()}


def measure_requests(
    model: nn.Module, requests: int, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """A row per variant."""
    methods = measured_methods(model)
    names = ["published", LANGUAGE, *(f"{name}+{LANGUAGE}" for name in methods)]
    variants, workload = make_variants(model, names, [RATIO]), Workload(options.side)
    jobs = {}
    for name, variant in variants.items():
        inputs = batched(workload.shrunk(variant.downsample).for_model(model), requests)
        tokens = options.new_tokens
        jobs[name] = Job(variant, partial(generate, model, inputs, tokens, tokens))
    measured = rows(str(workload), measure(model, jobs, options.repetitions))
    for row in measured:
        row |= {"requests": requests, "tokens_per_second": 1e3 * requests / row["decode_ms"]}
    return measured


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", type=Path, help="JSON with the results; goes on where it ended")
    parser.add_argument("--shape", choices=DIMENSIONS, help="default: the embedded model")
    parser.add_argument("--requests", nargs="+", type=int, default=(1, 16))
    parser.add_argument("--side", type=int, default=672, help="of the image, in pixels")
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--repetitions", type=int, default=3)
    return parser.parse_args()


def main() -> None:
    """Measure what is missing."""
    options = parsed()
    measured = json.loads(options.file.read_text()) if options.file.exists() else []
    model = load_subject(
        shape=options.shape,
        random_weights=options.shape is not None,
        vision_only=False,
        dtype=options.dtype,
        device=options.device,
    )
    for requests in options.requests:
        if not any(row["requests"] == requests for row in measured):
            new = measure_requests(model, requests, options)
            measured += new
            write_json(options.file, measured)
            for row in new:
                print(row["requests"], row["variant"], row["first_token_ms"], flush=True)


if __name__ == "__main__":
    main()
