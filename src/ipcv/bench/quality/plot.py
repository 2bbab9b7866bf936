"""The plot of quality against measured encoder time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipcv.bench.plots import INK, MUTED, draw_curves, pyplot, save
from ipcv.bench.quality.intervals import Estimate
from ipcv.bench.variants import UNCOMPRESSED, method_of


def plot_quality(path: Path, points: Mapping[str, tuple[float, Estimate]], label: str) -> None:
    """Write the picture of `draw_quality`. Raises `ImportError` where matplotlib is missing."""
    save(draw_quality(points, label), path)


def draw_quality(points: Mapping[str, tuple[float, Estimate]], label: str) -> Any:
    """A figure: quality against encoder time, a line per method, bars for 95 % intervals.

    Args:
        points: per variant its encoder time relative to uncompressed, and its quality.
        label: what the quality is.

    Raises:
        ImportError: matplotlib is missing.
    """
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(7, 4.6), layout="constrained")
    start = 100 * points[UNCOMPRESSED][0], points[UNCOMPRESSED][1].mean
    curves: dict[str, list[tuple[float, float]]] = {}
    for name, (time, quality) in points.items():
        if name != UNCOMPRESSED:
            curves.setdefault(method_of(name), [start]).append((100 * time, quality.mean))
            axes.vlines(100 * time, quality.low, quality.high, color=MUTED, linewidth=1)
    draw_curves(axes, curves)
    axes.plot(*start, "o", color=INK, label=UNCOMPRESSED, markersize=8)
    axes.set(xlabel="encoder time, % of uncompressed", ylabel=label)
    axes.legend(frameon=False, loc="lower right")
    return figure
