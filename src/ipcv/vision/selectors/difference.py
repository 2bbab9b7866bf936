"""The published rule: keep what the last block changed most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ipcv.core import ops

if TYPE_CHECKING:
    from ipcv.vision.selection import Layout


def difference(previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
    """The change of each row, `||h_p - h_(p-1)||` (paper, eq. 3)."""
    return ops.feature_difference(previous, rows)
