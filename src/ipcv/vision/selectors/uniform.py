"""The other control: a regular grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ipcv.vision.selection import Layout

BITS = 12
"""Grids may have up to `2 ** BITS` frames, rows and columns of patches."""


def uniform(previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
    """Patches in the order of nested regular grids (ordered dithering), whatever is in them.

    A quarter of the patches is every second one along both axes, half of them a chequerboard; in
    between, the next finer grid fills evenly. A video fills its frames evenly.
    """
    frame, y, x = layout.positions().unbind(1)
    rank = torch.zeros_like(frame)
    for bit in range(BITS):  # the lowest bit of a position decides first
        rank = rank * 4 + 2 * ((y ^ x) >> bit & 1) + (y >> bit & 1)
    order = (rank * 2**BITS + _reversed_bits(frame)).argsort(descending=True)
    places = torch.arange(len(order), device=order.device, dtype=torch.float32)
    return torch.empty_like(places).index_copy_(0, order, places)


def _reversed_bits(values: Tensor) -> Tensor:
    result = torch.zeros_like(values)
    for bit in range(BITS):
        result = result * 2 + (values >> bit & 1)
    return result
