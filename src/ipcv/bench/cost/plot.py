"""The plot of measured encoder time against FLOPs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ipcv.bench.plots import MUTED, draw_curves, pyplot, save
from ipcv.bench.variants import UNCOMPRESSED, method_of


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
