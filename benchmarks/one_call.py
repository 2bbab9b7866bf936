"""A profile of one call of an encoder: kernels, gaps between them, and the host's time.

    python benchmarks/one_call.py profile.json --device cuda --dtype bfloat16

On a CPU the operators that no other has called take the place of kernels.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from cases import ALL_CASES, full_depth, make_encoder
from ipcv.bench.clock import timed
from ipcv.bench.cost.shapes import DIMENSIONS
from ipcv.bench.variants import Variant
from ipcv.core.output import write_json
from ipcv.inputs.loading import torch_device
from methods import measured_variants

WARM_UP = 3
LISTED = 15
"""Kernels and operators named, those with most time."""


def profiled(encoder: nn.Module, variant: Variant, options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of one call, and where they went."""
    factor = variant.downsample.factor if variant.downsample else 1
    inputs = ALL_CASES[options.case].shrunk(factor).inputs(encoder)
    activities = [ProfilerActivity.CPU]
    if options.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with torch.inference_mode(), variant.applied(encoder):
        for _ in range(WARM_UP):
            elapsed = timed(lambda: encoder(**inputs), options.device)
        with profile(activities=activities) as profiler:
            timed(lambda: encoder(**inputs), options.device)
    events: list[FunctionEvent] = list(profiler.events() or ())
    on_host = [event for event in events if event.device_type.name == "CPU"]
    outer = [event for event in on_host if event.cpu_parent is None]
    kernels = [event for event in events if event not in on_host] if len(activities) > 1 else outer
    return {
        "ms": elapsed.total,
        "host_ms": elapsed.host,
        **summary(kernels),
        "top": most(kernels),
        "host_top": most(outer),
    }


def summary(kernels: Iterable[FunctionEvent]) -> dict[str, float]:
    """Their number, milliseconds in which one ran and in which none did, and the longest gap."""
    spans = sorted((event.time_range.start, event.time_range.end) for event in kernels)
    busy, gaps, until = 0.0, [0.0], spans[0][0] if spans else 0.0
    for start, end in spans:
        gaps.append(max(0.0, start - until))
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    parts = {"busy_ms": busy, "gaps_ms": sum(gaps), "longest_gap_ms": max(gaps)}
    return {"kernels": len(spans)} | {name: us / 1e3 for name, us in parts.items()}


def most(events: Iterable[FunctionEvent]) -> list[dict[str, Any]]:
    """By name, those with most time."""
    ms, calls = Counter[str](), Counter[str]()
    for event in events:
        ms[event.name] += event.time_range.elapsed_us() / 1e3
        calls[event.name] += 1
    return [
        {"name": name, "calls": calls[name], "ms": time} for name, time in ms.most_common(LISTED)
    ]


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", type=Path, help="JSON with the results")
    parser.add_argument("--shape", choices=DIMENSIONS, default="qwen2-vl-7b")
    parser.add_argument("--case", choices=ALL_CASES, default="1,024")
    parser.add_argument("--depth", type=int, help="blocks; default: all")
    parser.add_argument("--width", type=int, help="of Qwen2-VL, instead of 1280")
    parser.add_argument("--device", type=torch_device, default="cpu")
    parser.add_argument("--dtype", default="float32")
    return parser.parse_args()


def main() -> None:
    """Profile every variant."""
    options = parsed()
    depth = options.depth or full_depth(options.shape)
    encoder = make_encoder(options.shape, depth, options.dtype, options.device, options.width)
    rows = []
    for name, variant in measured_variants(encoder).items():
        key = {"shape": options.shape, "case": options.case, "variant": name}
        rows.append(key | profiled(encoder, variant, options))
        write_json(options.file, rows)
        print({name: value for name, value in rows[-1].items() if "top" not in name}, flush=True)


if __name__ == "__main__":
    main()
