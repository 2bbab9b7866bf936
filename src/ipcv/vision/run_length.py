"""Run-length tokenization: patches of a video that the frame before showed already do not go in."""

from __future__ import annotations

from dataclasses import dataclass

from ipcv.vision.predictive import PredictiveMethod


@dataclass(frozen=True)
class RunLength(PredictiveMethod):
    """Patches that do not change from frame to frame go before the first block (arXiv 2411.05222).

    All come back as copies of the last one that stayed at their place. An image stays as it is, and
    so does the first frame of a video, and all frames of encoders that take each by itself.

    What differs: the paper drops tokens for good, and tells the encoder how long each run is, which
    that has to learn. Whole units of 2 x 2 patches go here, so that `ipcv.baselines.DropCopies` can
    drop them before the language model; they are compared as the first block gets them, not as
    pixels; and a ratio is asked for, as if the paper's threshold were set for each video.

    Attributes:
        reduction_ratio: fraction of the units of each video that is left out, in [0, 1).

    Raises:
        ValueError: the ratio is out of range.
    """

    reduction_ratio: float = 0.5

    shifts = ((1, 0, 0),)

    def unpredicted(self, patches: int, frames: int) -> int:
        """The first frame."""
        return patches // frames
