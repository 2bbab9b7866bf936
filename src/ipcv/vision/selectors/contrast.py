"""Mixed resolution: smooth cells keep one patch, detailed ones all of theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ipcv.vision.cells import cells, distance_to_first

if TYPE_CHECKING:
    from ipcv.vision.selection import Layout


def contrast(previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
    """How far each patch is from the first one of its cell of 2 x 2, which itself stays."""
    cell = cells(layout)
    if layout.padding is not None:  # in cells of its own, so that it is nobody's first
        cell = 2 * cell + layout.padding.to(cell.device)
    distance, _ = distance_to_first(rows, cell)
    return distance
