"""The size of the features, which stands for that of keys: selectors see rows, no weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ipcv.vision.selection import Layout


def norm(previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
    """`||h_p||` of each row."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=-1, dtype=torch.float32)
    return norms
