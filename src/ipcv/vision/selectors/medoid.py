"""Even over the image, and within each cell what is most typical of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ipcv.vision.cells import by_turns, cells

if TYPE_CHECKING:
    from ipcv.vision.selection import Layout


def medoid(previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
    """The patch nearest to the mean of each cell of 2 x 2, then the second of each, and so on."""
    cell = cells(layout)
    order = cell.argsort(stable=True)
    first = torch.searchsorted(cell[order], cell)  # of each row's cell, in that order
    states = rows.float()
    filled = torch.ones_like(states[:, 0])
    if layout.padding is not None:
        filled = filled.masked_fill(layout.padding, 0)
    count = torch.zeros_like(filled).index_add_(0, first, filled)
    total = torch.zeros_like(states).index_add_(0, first, states * filled[:, None])
    mean = (total / count.clamp(min=1)[:, None])[first]
    return by_turns(-torch.linalg.vector_norm(states - mean, dim=-1), layout)
