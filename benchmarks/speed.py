"""Encoders of real dimensions with random weights: uncompressed, straightforward, compressed.

    python benchmarks/speed.py benchmarks/results/speed-cpu.json
    python benchmarks/speed.py benchmarks/results/speed-gpu.json --device cuda --dtype bfloat16

The runs of the three take turns. What the file holds already is not measured again; the table of
everything in it is printed as Markdown. On a CPU the encoders have fewer blocks, in the published
proportion. On a machine with other work, `--busy` counts the CPU time of one thread instead
of the time that passes. Random weights say nothing about quality.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor, nn

import ipcv
from ipcv.bench.clock import milliseconds
from ipcv.bench.cost.flops import count_flops
from ipcv.bench.cost.memory import peak_bytes
from ipcv.bench.cost.shapes import DIMENSIONS, build, shape_config
from ipcv.families import find_encoder
from straightforward import straightforward

PUBLISHED = ("qwen2-vl-7b", "qwen2.5-vl-7b", "internvl3-8b")
REPETITIONS = range(2, 15)
"""Between these bounds as many as there is time for."""
LARGEST_MATRIX = 8 * 2**30
"""Bytes of distances beyond which the straightforward form is left out."""


class Case(NamedTuple):
    """So many square images (or tiles), or one video, of `side * side` patches per frame."""

    images: int
    side: int
    frames: int = 1

    @property
    def item(self) -> int:
        """Patches that compete."""
        return self.frames * self.side**2

    def inputs(self, encoder: Any) -> dict[str, Tensor]:
        """Noise of this size, as the encoder takes it."""
        options = {"device": encoder.device, "dtype": encoder.dtype}
        if encoder.config.model_type.startswith("qwen"):
            grid = torch.tensor([[self.frames, self.side, self.side]] * self.images)
            pixels = torch.randn(self.images * self.item, 3 * 2 * 14 * 14, **options)
            return {"hidden_states": pixels, "grid_thw": grid.to(encoder.device)}
        tile = min(self.side, 32)
        number = self.images * self.item // tile**2
        return {"pixel_values": torch.randn(number, 3, 14 * tile, 14 * tile, **options)}


CASES = {
    "256": Case(1, 16),
    "1,024": Case(1, 32),
    "4,096": Case(1, 64),
    "8 x 1,024": Case(8, 32),
    "16 frames x 576": Case(1, 24, 16),
    "16,384": Case(1, 128),
    "64 frames x 576": Case(1, 24, 64),
}
"""Patches. InternVL gets tiles of at most 1,024, each on its own, and frames likewise."""
LONG = {"64 frames x 1,024": Case(1, 32, 64), "256 frames x 576": Case(1, 24, 256)}
"""On request."""


def make_encoder(name: str, case: Case, options: argparse.Namespace) -> tuple[Any, ipcv.IPCV]:
    """An encoder, and the published settings with the same fractions of its depth."""
    full, device = shape_config(name).vision_config, torch.device(options.device)
    full_depth = getattr(full, "depth", None) or full.num_hidden_layers
    usual = (8 if case.images * case.item < 5_000 else 4) if device.type == "cpu" else full_depth
    depth = options.depth or usual
    config = shape_config(name, depth)
    if options.width:
        narrow(config.vision_config, options.width)
    torch.manual_seed(0)
    encoder = build(config, getattr(torch, options.dtype), device, vision_only=True)
    encoder.set_attn_implementation(options.attention)  # type: ignore[operator]
    published = find_encoder(encoder)[0].settings
    return encoder, replace(
        published,
        prune_layer=max(1, round(published.prune_layer * depth / full_depth)),
        stabilization_layers=max(1, round(published.stabilization_layers * depth / full_depth)),
    )


def narrow(config: Any, width: int) -> None:
    """Make a Qwen2-VL encoder narrower, with heads of the same size."""
    config.num_heads = config.num_heads * width // config.embed_dim
    config.embed_dim = width


def variants_of(
    encoder: nn.Module, method: ipcv.IPCV, case: Case
) -> dict[str, Callable[[], AbstractContextManager[object]]]:
    """By name, how to run the encoder in each way."""
    variants: dict[str, Callable[[], AbstractContextManager[object]]] = {
        "uncompressed": nullcontext,
        "straightforward": lambda: straightforward(encoder, method),
        "ours": lambda: ipcv.compress(encoder, method),
    }
    kept = case.item * (1 - method.reduction_ratio)
    if 4 * kept * (case.item - kept) > LARGEST_MATRIX:
        del variants["straightforward"]
    return variants


def measure(name: str, case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """All variants of a case, in turns."""
    encoder, method = make_encoder(name, case, options)
    inputs, variants = case.inputs(encoder), variants_of(encoder, method, case)
    flops: dict[str, int] = {}
    peak: dict[str, int] = {}
    ms: dict[str, list[float]] = {variant: [] for variant in variants}

    def call() -> object:
        with torch.inference_mode():
            return encoder(**inputs)

    def counted(variant: str) -> None:
        flops[variant] = count_flops(call)

    for variant, applied in variants.items():  # the warm-up, too
        with applied():
            peak[variant] = peak_bytes(lambda: counted(variant), encoder.device)  # noqa: B023
    clock = cpu_milliseconds if options.busy else milliseconds
    while len(ms["ours"]) < REPETITIONS.start or (
        len(ms["ours"]) < REPETITIONS.stop and sum(map(sum, ms.values())) < 1e3 * options.seconds
    ):
        for variant, applied in variants.items():
            with applied():
                start = clock()
                call()
                ms[variant].append(clock() - start)
    settings = {"prune_layer": method.prune_layer, "stabilized": method.stabilization_layers}
    blocks = len(find_encoder(encoder)[0].adapter(encoder).blocks)
    return {"blocks": blocks, **settings, "flops": flops, "peak": peak, "ms": ms}


def cpu_milliseconds() -> float:
    """CPU time of this process until now."""
    return 1e3 * process_time()


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: of times the median and the range, of speed-ups the median of all turns."""
    lines = [
        "| encoder, blocks | patches | dtype | uncompressed | straightforward | ours "
        "| straightforward | ours | bound | ours / bound | peak memory |",
        "| --- | --- | --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for row in rows:
        ms, flops, peak = row["ms"], row["flops"], row["peak"]
        bound, ours = flops["uncompressed"] / flops["ours"], speedup(ms, "ours")
        width = f" x {row['width']}" if row["width"] else ""
        cells = [
            f"{row['shape']}, {row['blocks']}{width}",
            row["case"],
            row["dtype"],
            *(times(ms.get(name)) for name in ("uncompressed", "straightforward", "ours")),
            f"{speedup(ms, 'straightforward'):.2f}x" if "straightforward" in ms else "",
            f"{ours:.2f}x",
            f"{bound:.2f}x",
            f"{ours / bound:.2f}",
            f"{peak['ours'] / peak['uncompressed'] - 1:+.0%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def speedup(ms: dict[str, list[float]], name: str) -> float:
    """Over the uncompressed encoder."""
    return median(a / b for a, b in zip(ms["uncompressed"], ms[name], strict=True))


def times(runs: list[float] | None) -> str:
    """Milliseconds."""
    return f"{median(runs):,.0f} ({min(runs):,.0f}-{max(runs):,.0f}) ms" if runs else ""


def machine(device: str) -> str:
    """What the numbers hold for."""
    if device.startswith("cuda"):
        name = torch.cuda.get_device_name()
    else:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line for line in lines if line.startswith("model name")), "")
        threads = torch.get_num_threads()
        name = f"{model.partition(': ')[2] or platform.machine()}, {threads} threads"
    return f"{name}; torch {torch.__version__}, transformers {transformers.__version__}"


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", type=Path, help="JSON with the results; goes on where it ended")
    parser.add_argument("--shapes", nargs="+", choices=DIMENSIONS, default=PUBLISHED)
    parser.add_argument("--cases", nargs="+", choices=CASES | LONG, default=CASES)
    parser.add_argument("--depth", type=int, help="blocks; default: few on a CPU, else all")
    parser.add_argument("--width", type=int, help="of Qwen2-VL, instead of 1280")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--attention", default="sdpa")
    parser.add_argument("--seconds", type=float, default=60, help="of measurement per case")
    parser.add_argument("--busy", action="store_true", help="count CPU time of one thread")
    options = parser.parse_args()
    if options.busy:
        torch.set_num_threads(1)
    rows = json.loads(options.file.read_text()) if options.file.exists() else []
    conditions = {"machine": machine(options.device), "attention": options.attention}
    conditions |= {"dtype": options.dtype, "width": options.width, "depth": options.depth}
    conditions["clock"] = "CPU" if options.busy else "wall"
    for case in options.cases:
        for name in options.shapes:
            key = {"shape": name, "case": case, **conditions}
            if not any(key.items() <= row.items() for row in rows):
                rows.append(key | measure(name, (CASES | LONG)[case], options))
                options.file.write_text(json.dumps(rows, indent=1) + "\n")
                print(table(rows[-1:]).splitlines()[-1], flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
