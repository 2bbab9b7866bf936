"""Cells of neighbouring patches, and the distance of patches to the first one of their cell."""

from __future__ import annotations

import torch
from torch import Tensor

SIDE = 2
"""Patches along the side of a cell."""

BITS = 16
"""There may be fewer than `2 ** BITS - 1` frames, and rows and columns of cells."""


def distance_to_first(rows: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """How far rows are from the first one of their cell.

    Args:
        rows: `(..., n, C)`, compared by Euclidean distance.
        cell: `(..., n)` int64, the number of each row's cell.

    Returns:
        `(..., n)` fp32 distances, infinite for the first ones, and `(..., n)` int64 the places of
        these.
    """
    ascending, order = cell.sort(dim=-1, stable=True)
    first = order.gather(-1, torch.searchsorted(ascending, cell))
    states = rows.float()
    others = states.gather(-2, first[..., None].expand_as(states))
    distance = torch.linalg.vector_norm(states - others, dim=-1)
    most = torch.finfo(distance.dtype).max  # of rows that are not finite: less than infinite
    distance = distance.nan_to_num_(nan=most, posinf=most)
    is_first = first == torch.arange(first.shape[-1], device=first.device)
    return distance.masked_fill_(is_first, torch.inf), first


def cell_numbers(places: Tensor, side: int = SIDE) -> Tensor:
    """Positive numbers of the cells that patches at these frames, rows and columns are in.

    `(..., 3) -> (...)`, int64; `side`: patches along the side of a cell.
    """
    frame, y, x = places.unbind(-1)
    return (frame << 2 * BITS) + (y // side << BITS) + x // side + 1
