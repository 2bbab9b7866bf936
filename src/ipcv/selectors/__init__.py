"""Which patches to keep: one rule per file, by the name that `IPCV.selector` has for it."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ipcv.selectors.difference import difference
from ipcv.selectors.random import random
from ipcv.selectors.uniform import uniform

Selector = Callable[[Tensor, Tensor, Any], Tensor]
"""`(previous, rows, layout) -> scores`: input `(N, C)` and output `(N, C)` of the block in front of
`prune_layer`, and the `ipcv.selection.Layout` of the rows. Of each group the highest of the fp32
scores `(N,)` are kept, the earlier one among equals. A group's scores depend on its own rows alone.
"""

SELECTORS: dict[str, Selector] = {
    "difference": difference,
    "random": random,
    "uniform": uniform,
}

__all__ = ["SELECTORS", "Selector"]
