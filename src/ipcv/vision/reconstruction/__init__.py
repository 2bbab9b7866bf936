"""How to rebuild removed patches: one rule per file, by the name in `IPCV.reconstruction`."""

from collections.abc import Callable

from ipcv.vision.neighbors import Neighbors
from ipcv.vision.reconstruction.affine import affine
from ipcv.vision.reconstruction.linear import linear
from ipcv.vision.reconstruction.local import local
from ipcv.vision.reconstruction.mean import mean
from ipcv.vision.reconstruction.nearest import nearest
from ipcv.vision.reconstruction.none import none
from ipcv.vision.reconstruction.softmax import softmax
from ipcv.vision.reconstruction.split import Split

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
