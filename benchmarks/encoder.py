"""How much faster a Qwen2-VL vision encoder is when compressed: random weights, real shapes.

    python benchmarks/encoder.py
    python benchmarks/encoder.py --width 1280 --depth 32 --device cuda --dtype bfloat16

Compressed and uncompressed runs take turns; the ratio of their median times is reported beside the
ratio of their FLOPs, which bounds it. Random weights say nothing about quality.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel

import ipcv
from ipcv.bench.clock import milliseconds
from ipcv.bench.compare import Variant
from ipcv.bench.flops import count_flops

RATIOS = (0.35, 0.5, 0.65, 0.8)
PATCHES_PER_SIDE = (16, 32, 64)


def build(width: int, depth: int, device: str, dtype: str) -> Qwen2VisionTransformerPretrainedModel:
    """An encoder with random weights."""
    heads = width // (80 if width % 80 == 0 else 32)
    config = Qwen2VLVisionConfig(
        embed_dim=width, depth=depth, num_heads=heads, hidden_size=width, attn_implementation="sdpa"
    )
    encoder = Qwen2VisionTransformerPretrainedModel(config)
    return encoder.to(device, getattr(torch, dtype)).eval()


def measure(
    encoder: Qwen2VisionTransformerPretrainedModel, side: int, repetitions: int
) -> list[dict[str, Any]]:
    """Every ratio on one square image of ``side * side`` patches."""
    weight = encoder.patch_embed.proj.weight
    pixels = torch.randn(side * side, 1176, device=weight.device, dtype=weight.dtype)
    grid = torch.tensor([[1, side, side]], device=weight.device)
    published = ipcv.preset(encoder).vision
    settings = {0.0: Variant()} | {
        ratio: Variant(replace(published, reduction_ratio=ratio)) for ratio in RATIOS
    }
    times: dict[float, list[float]] = {ratio: [] for ratio in settings}
    flops = {}
    for repetition in range(repetitions + 1):
        for ratio, variant in settings.items():
            with torch.inference_mode(), variant.applied(encoder):
                if repetition == 0:  # the warm-up
                    flops[ratio] = count_flops(lambda: encoder(pixels, grid_thw=grid))
                else:
                    start = milliseconds()
                    encoder(pixels, grid_thw=grid)
                    times[ratio].append(milliseconds() - start)
    median = {ratio: statistics.median(values) for ratio, values in times.items()}
    return [
        {
            "patches": side * side,
            "reduction_ratio": ratio,
            "gflops": flops[ratio] / 1e9,
            "ms": median[ratio],
            "flops_ratio": flops[0.0] / flops[ratio],
            "speedup": median[0.0] / median[ratio],
        }
        for ratio in settings
    ]


def show(rows: list[dict[str, Any]], title: str) -> None:
    """Print the measurements as a table."""
    table = Table("patches", "ratio", "GFLOPs", "ms", "speed-up", "bound by FLOPs", title=title)
    for row in rows:
        table.add_row(
            f"{row['patches']:,}",
            str(row["reduction_ratio"]),
            f"{row['gflops']:.1f}",
            f"{row['ms']:.1f}",
            f"{row['speedup']:.2f}x",
            f"{row['flops_ratio']:.2f}x",
        )
    Console().print(table)


def main() -> None:
    """Parse the options, measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--sides", type=int, nargs="+", default=PATCHES_PER_SIDE, metavar="PATCHES")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    encoder = build(options.width, options.depth, options.device, options.dtype)
    rows = [
        row
        for side in track(options.sides, "measuring")
        for row in measure(encoder, side, options.repetitions)
    ]
    cuda = options.device.startswith("cuda")
    device = torch.cuda.get_device_name() if cuda else f"{platform.machine()} CPU"
    threads = "" if cuda else f", {torch.get_num_threads()} threads"
    title = f"{options.depth} blocks x {options.width}, {options.dtype}, {device}{threads}"
    show(rows, title)
    if options.json:
        options.json.write_text(json.dumps({"title": title, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
