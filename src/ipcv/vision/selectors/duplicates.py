"""Exact and near duplicates go first: what documents and screens are full of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ipcv.vision.selectors.groups import distance_to_better, per_group

if TYPE_CHECKING:
    from ipcv.vision.selection import Layout


def duplicates(previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
    """The distance of each row to the nearest earlier one, so that one of each kind is kept."""
    return per_group(layout, _distance_to_earlier, rows)


def _distance_to_earlier(rows: Tensor) -> Tensor:
    return distance_to_better(rows, torch.zeros_like(rows[..., 0]))
