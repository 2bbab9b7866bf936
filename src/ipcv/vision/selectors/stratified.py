"""Even over the image, and within each cell by the published rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ipcv.core import ops
from ipcv.vision.cells import by_turns

if TYPE_CHECKING:
    from ipcv.vision.selection import Layout


def stratified(previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
    """The patch that changed most of each cell of 2 x 2, then the second of each, and so on."""
    return by_turns(ops.feature_difference(previous, rows), layout)
