"""How to rebuild removed patches: one rule per file, by the name in `IPCV.reconstruction`."""

from collections.abc import Callable, Sequence

from torch import Tensor

from ipcv.ops import Neighbors
from ipcv.reconstruction.mean import mean
from ipcv.reconstruction.none import none

Reconstructor = Callable[[Tensor, Tensor, Sequence[int], Sequence[int], int], Neighbors]
"""`(removed, kept, removed_lengths, kept_lengths, num_neighbors) -> neighbours`: which kept rows
`(K, C)` each removed row `(R, C)` follows, and with which weights; lengths are rows per item.
"""

RECONSTRUCTORS: dict[str, Reconstructor] = {
    "mean": mean,
    "none": none,
}

__all__ = ["RECONSTRUCTORS", "Reconstructor"]
