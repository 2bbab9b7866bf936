"""The control: random patches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ipcv.core import ops

if TYPE_CHECKING:
    from ipcv.vision.selection import Layout

SEED = 0


def random(previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
    """Uniform noise, the same for every group of the same length.

    So the answer about an image does not depend on what came before it in the batch.
    """
    noise = {length: _noise(length) for length in set(layout.group_lengths)}
    return ops.upload(torch.cat([noise[n] for n in layout.group_lengths]), rows.device)


def _noise(length: int) -> Tensor:
    return torch.rand(length, generator=torch.Generator().manual_seed(SEED))
