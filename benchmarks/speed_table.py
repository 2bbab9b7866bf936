"""The table of measured speeds."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Any

from ipcv.bench.variants import UNCOMPRESSED

Row = dict[str, Any]


def table(rows: Iterable[Row]) -> str:
    """A line per encoder and case, a column per way to run it that some row has.

    Of times the median, of the uncompressed the range, too; of speed-ups the median of all turns,
    and behind it the bound by FLOPs.
    """
    rows = list(rows)
    ways = list(dict.fromkeys(way for row in rows for way in row["ms"] if way != UNCOMPRESSED))
    lines = [
        line(["encoder, blocks", "patches", "dtype", "attention", UNCOMPRESSED, *ways, "memory"]),
        line(["---"] * 4 + ["--:"] * (len(ways) + 2)),
    ]
    for row in rows:
        width = f" x {row['width']}" if row["width"] else ""
        runs = row["ms"][UNCOMPRESSED]
        cells = [f"{row['shape']}, {row['blocks']}{width}", row["case"]]
        cells += [row["dtype"], row["attention"]]
        cells.append(f"{time(median(runs))} ({time(min(runs))}-{time(max(runs))}) ms")
        cells += [cell(row, way) for way in ways]
        lines.append(line([*cells, memory(row)]))
    return "\n".join(lines)


def cell(row: Row, way: str) -> str:
    """Time, speed-up and bound of one way."""
    if way not in row["ms"]:
        return "failed" if way in row.get("failed", ()) else ""
    return f"{time(median(row['ms'][way]))} ms, {speedup(row, way):.2f}x of {bound(row, way):.2f}x"


def speedup(row: Row, way: str) -> float:
    """Over the uncompressed encoder."""
    pairs = zip(row["ms"][UNCOMPRESSED], row["ms"][way], strict=True)
    return float(median(before / after for before, after in pairs))


def bound(row: Row, way: str) -> float:
    """The speed-up that FLOPs allow."""
    flops = row["flops"]
    return float(flops[UNCOMPRESSED] / flops[way])


def memory(row: Row) -> str:
    """How much more than the uncompressed encoder's the published settings' peak is."""
    peak = row["peak"]
    return f"{peak['published'] / peak[UNCOMPRESSED] - 1:+.0%}" if "published" in peak else ""


def time(ms: float) -> str:
    """Three digits or all before the point."""
    return f"{ms:,.0f}" if ms >= 100 else f"{ms:.3g}"


def line(cells: Iterable[str]) -> str:
    """Of a Markdown table."""
    return f"| {' | '.join(cells)} |"
