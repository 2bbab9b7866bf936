"""What rules that compare the patches of a group with each other have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ipcv.core import ops

if TYPE_CHECKING:
    from ipcv.vision.selection import Layout


def per_group(layout: Layout, score: Callable[..., Tensor], *values: Tensor) -> Tensor:
    """Scores `(N,)` fp32 of a rule that sees the patches of one group, and of no other.

    Args:
        layout: which rows are a group. Protected rows and padding are left out, and score 0.
        score: `(G, n, ...)` of `G` groups of `n` patches -> `(G, n)`, from as many as `values`.
        values: `(N, ...)` each.
    """
    num_rows, device = len(values[0]), values[0].device
    lengths = [length - layout.protected for length in layout.filled_lengths]
    patches = _patches(layout, sum(lengths), device)
    own = [value if patches is None else value[patches] for value in values]
    scores, first = [], 0
    for length, equal in groupby(lengths):
        rows = slice(first, first + length * sum(1 for _ in equal))
        first = rows.stop
        if length:
            scores.append(score(*(x[rows].unflatten(0, (-1, length)) for x in own)).flatten())
    found = torch.cat(scores)
    if patches is None:
        return found
    return found.new_zeros(num_rows).index_copy_(0, patches, found)


def _patches(layout: Layout, count: int, device: torch.device) -> Tensor | None:
    """`(count,)` the rows that hold a patch to choose, ascending; `None` for all."""
    if layout.padding is None and not layout.protected:
        return None
    num_rows = sum(layout.group_lengths)
    if layout.padding is None:
        left_out = torch.zeros(num_rows, dtype=torch.bool, device=device)
    else:
        left_out = layout.padding.to(device).clone()
    if layout.protected:
        left_out.view(len(layout.group_lengths), -1)[:, : layout.protected] = True
    return left_out.int().argsort(stable=True)[:count]


def distance_to_better(rows: Tensor, priority: Tensor) -> Tensor:
    """How far each row is from the nearest one of higher priority, `(G, n, C)`, `(G, n) -> (G, n)`.

    Euclidean, in fp32, and under `ops.NEIGHBOR_MEMORY_BUDGET`. The best row of a group, which has
    none, is infinitely far. Of equal priorities the earlier one is higher.
    """
    num_groups, length, _ = rows.shape
    order = priority.argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, _places(order))
    states = rows.float() - rows.float().mean(1, keepdim=True)
    squared = states.square().sum(-1)
    result = torch.empty_like(squared)
    for group, row in _chunks(num_groups, length):
        queries, candidates = states[group, row], states[group]
        distance = torch.baddbmm(
            squared[group, None], queries, candidates.transpose(1, 2), alpha=-2
        )
        is_better = rank[group, None] < rank[group, row, None]
        nearest = distance.masked_fill_(~is_better, torch.inf).amin(-1)
        result[group, row] = (nearest + squared[group, row]).clamp(min=0).sqrt()
    return result


def _places(order: Tensor) -> Tensor:
    return torch.arange(order.shape[1], device=order.device).expand_as(order)


def _chunks(num_groups: int, length: int) -> Sequence[tuple[slice, slice]]:
    """Groups and rows whose distances to all rows of their group fit into the budget."""
    row_step = min(length, max(1, ops.NEIGHBOR_MEMORY_BUDGET // (4 * length)))
    group_step = max(1, ops.NEIGHBOR_MEMORY_BUDGET // (4 * length * row_step))
    return [
        (slice(group, group + group_step), slice(row, row + row_step))
        for group in range(0, num_groups, group_step)
        for row in range(0, length, row_step)
    ]
