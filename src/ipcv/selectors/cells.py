"""What rules that go by cells of neighbouring patches have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ipcv import ops

if TYPE_CHECKING:
    from ipcv.selection import Layout

SIDE = 2
"""Patches along the side of a cell."""


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


def first_of_cell(layout: Layout) -> Tensor:
    """`(N,)` int64: for each row the first one of its cell that is no padding, if any is not."""
    number = cells(layout)
    if layout.padding is not None:
        number = 2 * number + layout.padding.to(number.device)
    sorted_number, order = number.sort(stable=True)
    return order[torch.searchsorted(sorted_number, number)]


def cells(layout: Layout) -> Tensor:
    """`(N,)` int64: the number of each patch's cell; protected rows of a group share one."""
    frame, y, x = layout.positions().unbind(1)
    lengths = ops.upload(layout.group_lengths, frame.device)
    group = torch.arange(len(lengths), device=frame.device)
    group = group.repeat_interleave(lengths, output_size=len(frame))
    place = torch.stack([frame, y // SIDE, x // SIDE]) + 1
    if layout.protected:
        place.view(3, len(lengths), -1)[..., : layout.protected] = 0
    number = group
    for axis in place:
        number = number * (axis.amax() + 1) + axis
    return number
