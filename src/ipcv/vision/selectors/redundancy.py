"""What has the most similar counterpart goes first, as in Token Merging."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ipcv.vision.matching import best_counterparts
from ipcv.vision.selectors.groups import per_group

if TYPE_CHECKING:
    from ipcv.vision.selection import Layout


def redundancy(previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
    """The round of bipartite soft matching that each row outlives, and how unlike it is there.

    In each round every other row that is left is compared to the rest of them (Bolya et al.,
    arXiv 2210.09461), by the cosine of features less their mean, and the half of these that has the
    most similar counterpart goes.
    """
    return per_group(layout, _rounds, rows)


def _rounds(rows: Tensor) -> Tensor:
    """`(G, n, C) -> (G, n)`: rounds outlived, plus a unit less the similarity, scaled below 1."""
    left = torch.arange(rows.shape[1], device=rows.device).expand(len(rows), -1)
    centered = rows.float() - rows.float().mean(1, keepdim=True)
    scores = torch.full_like(centered[..., 0], rows.shape[1])
    turn = 0
    while (length := left.shape[1]) > 1:
        states = centered.gather(1, left[..., None].expand(-1, -1, rows.shape[2]))
        similarity, _ = best_counterparts(states)
        order = similarity.argsort(dim=1, descending=True, stable=True)
        goes = order[:, : (length + 2) // 4]
        outlived = turn + (1 - similarity.gather(1, goes)) / 3
        scores.scatter_(1, left.gather(1, 2 * goes), outlived)
        stays = torch.ones_like(left).scatter_(1, 2 * goes, 0)
        left = left.gather(1, stays.argsort(dim=1, descending=True, stable=True))
        left = left[:, : length - goes.shape[1]]
        turn += 1
    return scores
