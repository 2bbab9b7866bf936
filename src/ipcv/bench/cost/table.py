"""Measured costs as rows for JSON and CSV, and as a table for people."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from ipcv.bench.cost.measure import Cost
from ipcv.bench.variants import UNCOMPRESSED

CostRow = dict[str, Any]
Cell = Callable[[CostRow], str]


def rows(workload: str, costs: Mapping[str, Cost]) -> list[CostRow]:
    """Per variant its medians, and what they are against the uncompressed model's.

    `encoder_speedup` is the median of the repetitions' ratios, `encoder_bound` the ratio of FLOPs.
    """
    return [_row(workload, name, cost, costs[UNCOMPRESSED]) for name, cost in costs.items()]


def _row(workload: str, name: str, cost: Cost, base: Cost) -> CostRow:
    first = [_first_token(c) for c in (base, cost)]
    row: CostRow = {"workload": workload, "variant": name}
    row |= {"patches": cost.patches, "patches_kept": cost.patches_kept}
    for times in ("encoder_ms", "projector_ms", "prefill_ms", "decode_ms"):
        row |= _spread(times, getattr(cost, times))
    row |= _spread("first_token_ms", first[1])
    row |= {
        "encoder_gflops": cost.encoder_gflops,
        "projector_gflops": cost.projector_gflops,
        "prefill_gflops": cost.prefill_gflops,
    }
    row |= _spread("encoder_speedup", _ratios(base.encoder_ms, cost.encoder_ms))
    row |= _spread("first_token_speedup", _ratios(*first))
    row["encoder_bound"] = base.encoder_gflops / cost.encoder_gflops
    row["speedup_over_bound"] = row["encoder_speedup"] / row["encoder_bound"]
    row |= {"llm_tokens": cost.llm_tokens, "kv_bytes": cost.kv_bytes, "peak_bytes": cost.peak_bytes}
    return row


def _first_token(cost: Cost) -> list[float]:
    """Encoder, projector and prefill, per repetition; empty without a language model."""
    projecting = cost.projector_ms or [0.0] * len(cost.encoder_ms)
    parts = zip(cost.encoder_ms, projecting, cost.prefill_ms, strict=bool(cost.prefill_ms))
    return [sum(part) for part in parts]


def _ratios(base: Sequence[float], own: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(base, own, strict=True)]


def _spread(name: str, values: Sequence[float]) -> CostRow:
    if not values:
        return {name: None, f"{name}_min": None, f"{name}_max": None}
    return {
        name: statistics.median(values),
        f"{name}_min": min(values),
        f"{name}_max": max(values),
    }


ENCODER_COLUMNS: dict[str, Cell] = {
    "kept": lambda row: f"{row['patches_kept']:,}",
    "ms": lambda row: f"{row['encoder_ms']:.1f}",
    "GFLOPs": lambda row: f"{row['encoder_gflops']:,.1f}",
    "speed-up": lambda row: _speedup(row, "encoder_speedup"),
    "bound": lambda row: f"{row['encoder_bound']:.2f}",
    "of it": lambda row: f"{row['speedup_over_bound']:.2f}",
    "peak MB": lambda row: f"{row['peak_bytes'] / 1e6:,.0f}",
}
DECODER_COLUMNS: dict[str, Cell] = {
    "projector ms": lambda row: f"{row['projector_ms'] or 0:.1f}",
    "prefill ms": lambda row: f"{row['prefill_ms']:.1f}",
    "first token": lambda row: _speedup(row, "first_token_speedup"),
    "ms per token": lambda row: f"{row['decode_ms']:.1f}",
    "tokens": lambda row: f"{row['llm_tokens']:,}",
    "KV MB": lambda row: f"{row['kv_bytes'] / 1e6:,.1f}",
}


def tables(measured: Sequence[CostRow]) -> list[Table]:
    """The vision encoder's and, where measured, the whole model's part of one workload's rows.

    Medians; of speed-ups the least and the most in brackets.
    """
    workload, patches = measured[0]["workload"], measured[0]["patches"]
    title = f"vision encoder, {workload}, {patches:,} patches"
    parts = [_table(title, "encoder_speedup", ENCODER_COLUMNS, measured)]
    if measured[0]["prefill_ms"] is not None:
        parts.append(
            _table(f"whole model, {workload}", "first_token_speedup", DECODER_COLUMNS, measured)
        )
    return parts


def _table(
    title: str, speedup: str, columns: Mapping[str, Cell], measured: Sequence[CostRow]
) -> Table:
    is_noisy = any(_is_noise(row, speedup) for row in measured)
    caption = "~ within noise: the repetitions disagree on which is faster" if is_noisy else None
    table = Table(title=title, caption=caption, box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right")
    for row in measured:
        table.add_row(row["variant"], *(cell(row) for cell in columns.values()))
    return table


def _speedup(row: CostRow, name: str) -> str:
    mark = "~" if _is_noise(row, name) else ""
    return f"{mark}{row[name]:.2f}x ({row[f'{name}_min']:.2f}-{row[f'{name}_max']:.2f})"


def _is_noise(row: CostRow, name: str) -> bool:
    """Whether some repetitions were faster than uncompressed and some slower."""
    if row["variant"] == UNCOMPRESSED or row[name] is None:
        return False
    return bool(row[f"{name}_min"] <= 1 <= row[f"{name}_max"])
