"""Attention that a patch would receive, estimated from features without an attention matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional as F

from ipcv.vision.selectors.groups import per_group

if TYPE_CHECKING:
    from ipcv.vision.selection import Layout


def attention(previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
    """How alike each row is to its group: its mean cosine to all rows, its own included."""
    return per_group(layout, _mean_cosine, rows)


def _mean_cosine(rows: Tensor) -> Tensor:
    unit = F.normalize(rows.float(), dim=-1)
    return (unit @ unit.mean(1, keepdim=True).transpose(1, 2))[..., 0]
