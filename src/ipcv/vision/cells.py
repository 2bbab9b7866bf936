"""Cells of neighbouring patches: which are one, and what rules that go by them have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ipcv.core import ops

if TYPE_CHECKING:
    from ipcv.vision.selection import Layout

SIDE = 2
"""Patches along the side of a cell."""

BITS = 16
"""There may be fewer than `2 ** BITS - 1` frames, and rows and columns of cells."""


def by_turns(scores: Tensor, layout: Layout) -> Tensor:
    """Scores `(N,)` by which each cell gives its best patch, then each its second, and so on.

    Within one turn, the patches keep the order of the scores given.
    """
    by_score = layout.rank(scores).argsort(descending=True, stable=True)
    cell, order = cells(layout)[by_score].sort(stable=True)
    place = torch.arange(len(cell), device=cell.device)
    turn = place - torch.searchsorted(cell, cell)  # how many of its cell are better
    turn = torch.empty_like(turn).index_copy_(0, order, turn)
    ranked = by_score[turn.argsort(stable=True)]
    return torch.empty_like(scores).index_copy_(0, ranked, -place.to(scores.dtype))


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
    is_first = first == torch.arange(first.shape[-1], device=first.device)
    return distance.masked_fill_(is_first, torch.inf), first


def cells(layout: Layout) -> Tensor:
    """`(N,)` int64: the number of each patch's cell; protected rows of a group share one."""
    number = cell_numbers(layout.positions())
    lengths = ops.upload(layout.group_lengths, number.device)
    if layout.protected:
        number.view(len(lengths), -1)[:, : layout.protected] = 0
    group = torch.arange(len(lengths), device=number.device)
    return number + (group.repeat_interleave(lengths, output_size=len(number)) << 3 * BITS)


def cell_numbers(places: Tensor) -> Tensor:
    """Positive numbers of the cells that patches at these frames, rows and columns are in.

    `(..., 3) -> (...)`, int64.
    """
    frame, y, x = places.unbind(-1)
    return (frame << 2 * BITS) + (y // SIDE << BITS) + x // SIDE + 1
