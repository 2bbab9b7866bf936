"""Encoders of real dimensions with random weights, run in every way that is measured.

    python benchmarks/speed.py benchmarks/results/speed-cpu.json --methods published
    python benchmarks/speed.py speed.json --device cuda --dtype bfloat16

The ways take turns. What the file holds already is not measured again; the table of everything in
it is printed as Markdown. On a CPU the encoders have fewer blocks, in the published proportion. On
a machine with other work, `--busy` counts the CPU time of one thread instead of the time that
passes. Random weights say nothing about quality.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch
import transformers
from torch import nn
from transformers.utils import is_flash_attn_2_available

from cases import (
    ALL_CASES,
    CASES,
    Case,
    full_depth,
    make_encoder,
    published_settings,
    usual_depth,
)
from ipcv.bench.clock import timed
from ipcv.bench.cost.flops import count_flops
from ipcv.bench.cost.memory import peak_bytes
from ipcv.bench.cost.shapes import DIMENSIONS
from ipcv.bench.environment import device_name
from ipcv.bench.variants import UNCOMPRESSED, Variant
from ipcv.core.output import write_json
from ipcv.inputs.loading import torch_device
from methods import measured_variants
from speed_table import table
from straightforward import straightforward

PUBLISHED, STRAIGHTFORWARD = "published", "straightforward"
USUAL_SHAPES = ("qwen2-vl-7b", "qwen2.5-vl-7b", "internvl3-8b")
REPETITIONS = range(2, 15)
"""Between these bounds as many as there is time for."""
WARM_UP = 2
"""Calls on a GPU after the first, which its libraries choose kernels in."""
LARGEST_MATRIX = 8 * 2**30
"""Bytes of distances beyond which the straightforward form is left out."""

Applied = Callable[[], AbstractContextManager[object]]
Call = Callable[[], object]


def ways_of(
    encoder: nn.Module, case: Case, variants: Mapping[str, Variant], call: Callable[[Case], Call]
) -> dict[str, tuple[Applied, Call]]:
    """By name, the context to run the encoder in, and the call."""
    ways: dict[str, tuple[Applied, Call]] = {}
    for name, variant in variants.items():
        factor = variant.downsample.factor if variant.downsample else 1
        ways[name] = partial(variant.applied, encoder), call(case.shrunk(factor))
        method: Any = variant.vision
        if name == PUBLISHED:
            kept = case.item * (1 - method.reduction_ratio)
            if 4 * kept * (case.item - kept) <= LARGEST_MATRIX:
                ways[STRAIGHTFORWARD] = partial(straightforward, encoder, method), call(case)
    return ways


def measure(name: str, case: Case, attention: str, options: argparse.Namespace) -> dict[str, Any]:
    """All ways through a case, in turns. What fails in the first call is left out, with why."""
    device: torch.device = options.device
    full, depth = full_depth(name), options.depth or usual_depth(name, case, device)
    encoder: Any = make_encoder(name, depth, options.dtype, device, options.width)
    variants = measured_variants(encoder)
    published = published_settings(encoder, depth, full)
    variants[PUBLISHED] = Variant(published)
    wanted = options.methods or variants
    variants = {name: v for name, v in variants.items() if name in {UNCOMPRESSED, *wanted}}

    def call(case: Case) -> Call:
        inputs = case.inputs(encoder)
        return lambda: encoder(**inputs)

    ways, failed = ways_of(encoder, case, variants, call), dict[str, str]()
    flops, peak = dict[str, int](), dict[str, int]()
    with torch.inference_mode():
        for way in list(ways):
            try:
                flops[way], peak[way] = warm_up(encoder, *ways[way], attention)
            except (RuntimeError, ValueError) as error:  # out of memory, too
                del ways[way]
                failed[way] = str(error).partition("\n")[0]
        if UNCOMPRESSED in failed:
            raise SystemExit(f"{name} uncompressed: {failed[UNCOMPRESSED]}")
        ms, host_ms = take_turns(ways, options)
    settings = {
        "prune_layer": published.prune_layer,
        "stabilized": published.stabilization_layers,
    }
    row = {"blocks": depth, **settings, "flops": flops, "peak": peak, "ms": ms}
    return row | {"host_ms": host_ms, "failed": failed}


def warm_up(encoder: Any, applied: Applied, call: Call, attention: str) -> tuple[int, int]:
    """FLOPs and peak memory; the counter knows sdpa, and no flash attention."""
    flops = []
    encoder.set_attn_implementation("sdpa")
    with applied():
        peak = peak_bytes(lambda: flops.append(count_flops(call)), encoder.device)
    encoder.set_attn_implementation(attention)
    if encoder.device.type == "cuda":
        with applied():
            for _ in range(WARM_UP):
                call()
    return flops[0], peak


def take_turns(
    ways: Mapping[str, tuple[Applied, Call]], options: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Milliseconds until the results were there, and until the host was free again."""
    ms: dict[str, list[float]] = {way: [] for way in ways}
    host_ms: dict[str, list[float]] = {way: [] for way in ways}
    seconds = process_time if options.busy else perf_counter
    while len(ms[UNCOMPRESSED]) < REPETITIONS.start or (
        len(ms[UNCOMPRESSED]) < REPETITIONS.stop
        and sum(map(sum, ms.values())) < 1e3 * options.seconds
    ):
        for way, (applied, call) in ways.items():
            with applied():
                elapsed = timed(call, options.device, seconds)
            ms[way].append(elapsed.total)
            host_ms[way].append(elapsed.host)
    return ms, host_ms


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", type=Path, help="JSON with the results; goes on where it ended")
    parser.add_argument("--shapes", nargs="+", choices=DIMENSIONS, default=USUAL_SHAPES)
    parser.add_argument("--cases", nargs="+", choices=ALL_CASES, default=CASES)
    parser.add_argument("--methods", nargs="+", help="such as published; default: all")
    parser.add_argument("--depth", type=int, help="blocks; default: few on a CPU, else all")
    parser.add_argument("--width", type=int, help="of Qwen2-VL, instead of 1280")
    parser.add_argument("--device", type=torch_device, default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--attention", nargs="+", default=["sdpa"])
    parser.add_argument("--seconds", type=float, default=60, help="of measurement per case")
    parser.add_argument("--busy", action="store_true", help="count CPU time of one thread")
    return parser.parse_args()


def main() -> None:
    """Measure what is missing, and print the table."""
    options = parsed()
    if options.busy:
        torch.set_num_threads(1)
    if not is_flash_attn_2_available():
        options.attention = [name for name in options.attention if "flash" not in name]
    rows = json.loads(options.file.read_text()) if options.file.exists() else []
    conditions = {"machine": machine(options.device), "dtype": options.dtype}
    conditions |= {"width": options.width, "depth": options.depth}
    conditions["clock"] = "CPU" if options.busy else "wall"
    for case in options.cases:
        for name in options.shapes:
            for attention in options.attention:
                key = {"shape": name, "case": case, "attention": attention, **conditions}
                if not any(key.items() <= row.items() for row in rows):
                    rows.append(key | measure(name, ALL_CASES[case], attention, options))
                    write_json(options.file, rows)
                    print(table(rows[-1:]).splitlines()[-1], flush=True)
    print(table(rows))


def machine(device: torch.device) -> str:
    """What the numbers hold for."""
    name = device_name(device)
    if device.type == "cpu":
        name += f", {torch.get_num_threads()} threads"
    return f"{name}; torch {torch.__version__}, transformers {transformers.__version__}"


if __name__ == "__main__":
    main()
