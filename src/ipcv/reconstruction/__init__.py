"""How to rebuild removed patches: one rule per file, by the name in `IPCV.reconstruction`."""

from collections.abc import Callable

from ipcv.neighbors import Neighbors
from ipcv.reconstruction.affine import affine
from ipcv.reconstruction.linear import linear
from ipcv.reconstruction.local import local
from ipcv.reconstruction.mean import mean
from ipcv.reconstruction.nearest import nearest
from ipcv.reconstruction.none import none
from ipcv.reconstruction.softmax import softmax
from ipcv.reconstruction.split import Split

Reconstructor = Callable[[Split, int], Neighbors]
"""`(split, num_neighbors) -> neighbours`: which kept rows each removed row follows, and with which
weights.
"""

RECONSTRUCTORS: dict[str, Reconstructor] = {
    "mean": mean,
    "nearest": nearest,
    "softmax": softmax,
    "local": local,
    "affine": affine,
    "linear": linear,
    "none": none,
}

__all__ = ["RECONSTRUCTORS", "Reconstructor", "Split"]
