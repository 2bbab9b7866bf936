"""What its neighbours explain least: the error that rebuilding would make, one block earlier."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ipcv.vision.neighbors import nearest_neighbors
from ipcv.vision.selectors.groups import per_group

if TYPE_CHECKING:
    from ipcv.vision.selection import Layout

NEIGHBORS = 10


def unexplained(previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
    """By how much each row's change differs from the mean change of its nearest rows."""
    return per_group(layout, _errors, previous, rows)


def _errors(previous: Tensor, rows: Tensor) -> Tensor:
    num_groups, length, _ = rows.shape
    before, change = previous.flatten(0, 1), (rows.float() - previous.float()).flatten(0, 1)
    lengths = [length] * num_groups
    # A row is among its own neighbours, which only scales the error.
    neighbors = nearest_neighbors(before, before, lengths, lengths, NEIGHBORS + 1)
    error = torch.linalg.vector_norm(change - neighbors.combine(change), dim=-1)
    return error.view(num_groups, length)  # type: ignore[no-any-return]
