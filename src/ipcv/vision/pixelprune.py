"""PixelPrune: units of patches that repeat the one to the left or above do not go in."""

from __future__ import annotations

from dataclasses import dataclass

from ipcv.vision.cells import SIDE
from ipcv.vision.predictive import UNIT, PredictiveMethod


@dataclass(frozen=True)
class PixelPrune(PredictiveMethod):
    """Two-dimensional predictive coding before the first block (arXiv 2604.00886).

    A unit of 2 x 2 patches is predicted by the one to the left or the one above, whichever is
    nearer. All come back as copies, which the paper leaves away: for that, drop them before the
    language model, by `ipcv.baselines.DropCopies` with the same ratio.

    What differs, as far as the paper's abstract tells: which of the two predicts is our choice.
    Units are compared as the first block gets them, not as pixels. Where the encoder
    has added positions by then, these count, too. And a ratio is asked for: it is as if the paper's
    threshold were set for each image, as strictly as the ratio allows.

    Attributes:
        reduction_ratio: fraction of the units of each item that is left out, in [0, 1). One unit
            of each frame stays.

    Raises:
        ValueError: the ratio is out of range.
    """

    reduction_ratio: float = 0.5

    shifts = ((0, 0, SIDE), (0, SIDE, 0))

    def unpredicted(self, patches: int, frames: int) -> int:
        """The first unit of each frame."""
        return UNIT * frames
