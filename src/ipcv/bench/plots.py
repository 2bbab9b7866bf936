"""Parts of all plots, in colours that the colour-blind can tell apart."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipcv.core.output import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette."""

MARKERS = "osD^vPX*"
INK, MUTED = "#1b1f24", "#9aa3ad"


def draw_curves(axes: Axes, curves: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """One line per method through its points, and a marker and colour of its own."""
    for number, (name, points) in enumerate(curves.items()):
        colour, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
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


def data_uri(figure: Any, kind: str) -> str:
    """A figure as an address that holds it: of a "png" or an "svg". The figure is closed."""
    buffer = BytesIO()
    figure.savefig(buffer, format=kind, dpi=100)
    pyplot().close(figure)
    subtype = {"svg": "svg+xml"}.get(kind, kind)
    return f"data:image/{subtype};base64,{b64encode(buffer.getvalue()).decode()}"


def save(figure: Any, path: Path) -> None:
    """Write a figure, whole or not at all."""
    with whole_file(path) as part:
        figure.savefig(part, dpi=130)
    pyplot().close(figure)
