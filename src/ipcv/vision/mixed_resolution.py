"""Mixed resolution: smooth cells of patches go through the encoder as one, detailed ones whole."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ipcv.core.config import require_fraction
from ipcv.vision.cells import cells, distance_to_first
from ipcv.vision.layout import Layout
from ipcv.vision.one_step import OneStepMethod
from ipcv.vision.reconstruction import linear
from ipcv.vision.selection import Choice, Selection

NUM_NEIGHBORS = 10
"""Kept patches that rebuild a removed one."""


@dataclass(frozen=True)
class MixedResolution(OneStepMethod):
    """Prune before the first block what its cell of 2 x 2 patches says already.

    Those patches are left out that differ least from the first one of their cell, which stands for
    them. All come back after the last block: each as it was, plus a locally linear combination of
    the change of the kept patches that are nearest by features and place. Every block runs on fewer
    patches, and nothing but the input decides.

    Attributes:
        reduction_ratio: fraction of the patches of each item that is left out, in [0, 1). Beyond
            0.75 cells go that have nothing else in them, too.

    Raises:
        ValueError: the ratio is out of range.
    """

    reduction_ratio: float = 0.5

    def __post_init__(self) -> None:
        require_fraction("reduction_ratio", self.reduction_ratio)

    def scores(self, previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
        """How far each patch is from the first one of its cell, which itself stays."""
        cell = cells(layout)
        if layout.padding is not None:  # in cells of its own, so that it is nobody's first
            cell = 2 * cell + layout.padding.to(cell.device)
        distance, _ = distance_to_first(rows, cell)
        return distance

    def select(self, choice: Choice, rows: Tensor) -> Selection:
        """The others follow their neighbours."""
        return Selection.of(choice, rows, linear, NUM_NEIGHBORS, by_frames=True)
