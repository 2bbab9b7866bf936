"""Much changed and unlike each other: difference and diversity, without a greedy search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ipcv.core import ops
from ipcv.vision.selectors.groups import distance_to_better, per_group

if TYPE_CHECKING:
    from ipcv.vision.selection import Layout


def peaks(previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
    """Change times distance to the nearest row that changed more.

    As in density peak clustering (Rodriguez and Laio, 2014), with the change for the density.
    """
    return per_group(layout, _peaks, rows, ops.feature_difference(previous, rows))


def _peaks(rows: Tensor, change: Tensor) -> Tensor:
    return change * distance_to_better(rows, change)
