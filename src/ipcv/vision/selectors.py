"""Rules for what is kept, by the name that `IPCV.selector` has for each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ipcv.core import ops
from ipcv.vision.layout import Layout

SEED = 0
"""Of the noise of `random`."""

GRID_BITS = 12
"""Grids may have up to `2 ** GRID_BITS` frames, rows and columns of patches, in `uniform`."""

Selector = Callable[[Tensor, Tensor, Layout], Tensor]
"""`(previous, rows, layout) -> scores`: input `(N, C)` and output `(N, C)` of the block in front of
`prune_layer`, and the layout of the rows. Of each group the highest of the fp32 scores `(N,)` are
kept. A group's scores depend on its own patches alone, and padding has no say; which scores
protected rows and padding get does not matter.
"""


def difference(previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
    """The published rule: the change of each row, `||h_p - h_(p-1)||` (paper, eq. 3)."""
    return ops.feature_difference(previous, rows)


def norm(previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
    """`||h_p||` of each row, which stands for the norm of keys: selectors see no weights."""
    return ops.norms(rows)


def random(previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
    """A control: uniform noise, the same for every group of the same length.

    So the answer about an image does not depend on what came before it in the batch.
    """
    noise = {length: _noise(length) for length in set(layout.group_lengths)}
    return ops.upload(torch.cat([noise[n] for n in layout.group_lengths]), rows.device)


def uniform(previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
    """The other control: nested regular grids (ordered dithering), whatever is in them.

    A quarter of the patches is every second one along both axes, half of them a chequerboard; in
    between, the next finer grid fills evenly. A video fills its frames evenly.
    """
    frame, y, x = layout.positions().unbind(1)
    rank = torch.zeros_like(frame)
    for bit in range(GRID_BITS):  # the lowest bit of a position decides first
        rank = rank * 4 + 2 * ((y ^ x) >> bit & 1) + (y >> bit & 1)
    order = (rank * 2**GRID_BITS + _reversed_bits(frame)).argsort(descending=True)
    places = torch.arange(len(order), device=order.device, dtype=torch.float32)
    return torch.empty_like(places).index_copy_(0, order, places)


SELECTORS: dict[str, Selector] = {
    "difference": difference,
    "norm": norm,
    "random": random,
    "uniform": uniform,
}

COMPARING = frozenset({"difference"})
"""Rules that look at `previous`, so that there must be a block in front of `prune_layer`. The
others get `rows` twice where there is none.
"""


def _noise(length: int) -> Tensor:
    return torch.rand(length, generator=torch.Generator().manual_seed(SEED))


def _reversed_bits(values: Tensor) -> Tensor:
    result = torch.zeros_like(values)
    for bit in range(GRID_BITS):
        result = result * 2 + (values >> bit & 1)
    return result
