"""Which patches to keep: one rule per file, by the name that `IPCV.selector` has for it."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ipcv.vision.selectors.attention import attention
from ipcv.vision.selectors.contrast import contrast
from ipcv.vision.selectors.difference import difference
from ipcv.vision.selectors.duplicates import duplicates
from ipcv.vision.selectors.k_center import k_center
from ipcv.vision.selectors.medoid import medoid
from ipcv.vision.selectors.norm import norm
from ipcv.vision.selectors.peaks import peaks
from ipcv.vision.selectors.random import random
from ipcv.vision.selectors.redundancy import redundancy
from ipcv.vision.selectors.relative import relative
from ipcv.vision.selectors.stratified import stratified
from ipcv.vision.selectors.unexplained import unexplained
from ipcv.vision.selectors.uniform import uniform

Selector = Callable[[Tensor, Tensor, Any], Tensor]
"""`(previous, rows, layout) -> scores`: input `(N, C)` and output `(N, C)` of the block in front of
`prune_layer`, and the `Layout` of the rows. Of each group the highest of the fp32
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
