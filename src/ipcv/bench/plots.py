"""Plots of what was measured, in colours that the colour-blind can tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipcv.bench.quality.intervals import Estimate
from ipcv.bench.variants import UNCOMPRESSED
from ipcv.core.output import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette."""

MARKERS = "osD^vPX*"
INK, MUTED = "#1b1f24", "#9aa3ad"


def method_of(variant: str) -> str:
    """The method in a variant's name: "ipcv" of "ipcv 0.65"."""
    return variant.rsplit(" ", 1)[0]


def plot_costs(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Measured encoder time against FLOPs, both relative to uncompressed, one panel a workload.

    Raises:
        ImportError: matplotlib is missing.
    """
    plt = pyplot()
    workloads = list(dict.fromkeys(row["workload"] for row in rows))
    figure, panels = plt.subplots(
        1, len(workloads), figsize=(1 + 4.2 * len(workloads), 4.2), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axes, workload in zip(panels[0], workloads, strict=True):
        own = [row for row in rows if row["workload"] == workload]
        curves: dict[str, list[tuple[float, float]]] = {}
        for row in own:
            if row["variant"] != UNCOMPRESSED:
                point = 100 / row["encoder_bound"], 100 / row["encoder_speedup"]
                curves.setdefault(method_of(row["variant"]), []).append(point)
        axes.plot([0, 100], [0, 100], ":", color=MUTED, label="time = FLOPs")
        draw_curves(axes, curves)
        axes.set(
            title=workload, xlabel="encoder FLOPs, % of uncompressed", xlim=(0, 105),
            ylabel="encoder time, % of uncompressed", ylim=(0, None),
        )  # fmt: skip
    panels[0][0].legend(frameon=False)
    save(figure, path)


def plot_quality(path: Path, points: Mapping[str, tuple[float, Estimate]], label: str) -> None:
    """Quality against measured encoder time, a line per method, bars for 95 % intervals.

    Args:
        path: the picture's.
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
    save(figure, path)


def draw_curves(axes: Axes, curves: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """One line per method through its points, and a marker and colour of its own."""
    for number, (name, points) in enumerate(curves.items()):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        xs, ys = zip(*sorted(points), strict=True)
        axes.plot(xs, ys, label=name, color=colour, marker=marker, linewidth=1.6)
    axes.spines[["top", "right"]].set_visible(False)


def pyplot() -> Any:
    """Matplotlib without a window. Raises `ImportError` where it is missing."""
    try:
        import matplotlib
    except ImportError:
        raise ImportError("plots need matplotlib: pip install ipcv[eval]") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def save(figure: Any, path: Path) -> None:
    """Write a figure, whole or not at all."""
    with whole_file(path) as part:
        figure.savefig(part, dpi=130)
    pyplot().close(figure)
