"""Which patches to keep: one rule per file, by the name that `IPCV.selector` has for it."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ipcv.selectors.attention import attention
from ipcv.selectors.contrast import contrast
from ipcv.selectors.difference import difference
from ipcv.selectors.duplicates import duplicates
from ipcv.selectors.k_center import k_center
from ipcv.selectors.medoid import medoid
from ipcv.selectors.norm import norm
from ipcv.selectors.peaks import peaks
from ipcv.selectors.random import random
from ipcv.selectors.redundancy import redundancy
from ipcv.selectors.relative import relative
from ipcv.selectors.stratified import stratified
from ipcv.selectors.unexplained import unexplained
from ipcv.selectors.uniform import uniform

Selector = Callable[[Tensor, Tensor, Any], Tensor]
"""`(previous, rows, layout) -> scores`: input `(N, C)` and output `(N, C)` of the block in front of
`prune_layer`, and the `ipcv.selection.Layout` of the rows. Of each group the highest of the fp32
scores `(N,)` are kept, the earlier one among equals. A group's scores depend on its own patches
alone, and padding has no say; which scores protected rows and padding get does not matter.
"""

SELECTORS: dict[str, Selector] = {
    "difference": difference,
    "relative": relative,
    "norm": norm,
    "attention": attention,
    "random": random,
    "uniform": uniform,
    "stratified": stratified,
    "medoid": medoid,
    "k-center": k_center,
    "peaks": peaks,
    "unexplained": unexplained,
    "duplicates": duplicates,
    "redundancy": redundancy,
    "contrast": contrast,
}

COMPARING = frozenset({"difference", "relative", "stratified", "peaks", "unexplained"})
"""Rules that look at `previous`, so that there must be a block in front of `prune_layer`. The
others get `rows` twice where there is none.
"""

__all__ = ["COMPARING", "SELECTORS", "Selector"]
