"""Farthest-point sampling: every patch is close to a kept one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ipcv.vision.selectors.groups import per_group

if TYPE_CHECKING:
    from ipcv.vision.selection import Layout


def k_center(previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
    """In turn, the row farthest from all those before it (Gonzalez, 1985); first the most typical.

    As many steps as a group has patches, one after the other: good for comparisons, not for speed.
    """
    return per_group(layout, _turns, rows)


def _turns(rows: Tensor) -> Tensor:
    states = rows.float()
    group = torch.arange(len(states), device=states.device)
    farness = torch.full(states.shape[:2], torch.inf, device=states.device)
    scores = torch.zeros_like(farness)
    center = states.mean(1)
    pick = torch.linalg.vector_norm(states - center[:, None], dim=-1).argmin(1)
    for turn in range(states.shape[1]):
        scores[group, pick] = -turn
        distance = torch.linalg.vector_norm(states - states[group, pick][:, None], dim=-1)
        farness = torch.minimum(farness, distance).index_put_(
            (group, pick), farness.new_tensor(-1.0)
        )
        pick = farness.argmax(1)
    return scores
