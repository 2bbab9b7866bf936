"""The published rule, blind to scale: keep what the last block changed most for its size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ipcv.core import ops

if TYPE_CHECKING:
    from ipcv.vision.selection import Layout


def relative(previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
    """The change of each row over its norm before, `||h_p - h_(p-1)|| / ||h_(p-1)||`."""
    norm: Tensor = torch.linalg.vector_norm(previous, dim=-1, dtype=torch.float32)
    return ops.feature_difference(previous, rows) / norm.clamp(min=1e-12)
