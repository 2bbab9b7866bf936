"""A whole model at real dimensions, random weights: time to the first token, and tokens per second.

    python benchmarks/generation.py generation.json --device cuda --dtype bfloat16

Both sides are on: each method of the vision encoder with DART in the language model, and each side
alone. The requests are one batch. Random weights say nothing about answers.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ipcv.bench.cost.jobs import generate
from ipcv.bench.cost.measure import Job, measure
from ipcv.bench.cost.shapes import SHAPES, build, shape_config
from ipcv.bench.cost.table import rows
from ipcv.bench.cost.workload import Workload
from ipcv.bench.variants import UNCOMPRESSED, make_variants
from ipcv.core.output import write_json
from ipcv.inputs.loading import torch_device
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
    parser.add_argument("--shape", choices=SHAPES, default="qwen2-vl-2b")
    parser.add_argument("--requests", nargs="+", type=int, default=(1, 16))
    parser.add_argument("--side", type=int, default=896, help="of the image, in pixels")
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--layers", type=int, help="of both sides; default: all")
    parser.add_argument("--device", type=torch_device, default="cpu")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--repetitions", type=int, default=4)
    return parser.parse_args()


def main() -> None:
    """Measure what is missing."""
    options = parsed()
    measured = json.loads(options.file.read_text()) if options.file.exists() else []
    config = shape_config(options.shape, options.layers)
    if options.layers:
        config.text_config.num_hidden_layers = options.layers
        config.text_config.layer_types = config.text_config.layer_types[: options.layers]
    torch.manual_seed(0)
    model = build(config, getattr(torch, options.dtype), options.device, vision_only=False)
    for requests in options.requests:
        if not any(row["requests"] == requests for row in measured):
            measured += measure_requests(model, requests, options)
            write_json(options.file, measured)
            for row in measured:
                if row["variant"] == UNCOMPRESSED or row["requests"] == requests:
                    print(row["variant"], row["first_token_ms"], row["tokens_per_second"])


if __name__ == "__main__":
    main()
