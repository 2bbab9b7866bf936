"""Mixed resolution: smooth cells keep one patch, detailed ones all of theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ipcv.selectors.cells import first_of_cell

if TYPE_CHECKING:
    from ipcv.selection import Layout


def contrast(previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
    """How far each patch is from the first one of its cell of 2 x 2, which itself stays."""
    first = first_of_cell(layout)
    distance: Tensor = torch.linalg.vector_norm(rows.float() - rows[first].float(), dim=-1)
    is_first = first == torch.arange(len(first), device=first.device)
    return distance.masked_fill(is_first, torch.inf)
