"""Adaptive pruning: smooth cells first, then twins in a few blocks; rebuilt at the end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ipcv.core.config import require_fraction
from ipcv.vision.matching import smooth, twins
from ipcv.vision.steps import Removal, StepsMethod

CELLS = ((2, 0.0, 0.5), (4, 0.5, 0.75), (8, 0.75, 0.875))
"""Patches along the side of a cell, and from which to which fraction of all they go by these."""

TWINS = ((1 / 12, 0.4), (2 / 12, 0.25), (3 / 12, 0.2), (5 / 12, 0.15))
"""Where twins go: depths of blocks, as fractions of all, and shares of what goes as twins."""


@dataclass(frozen=True)
class Adaptive(StepsMethod):
    """Prune smooth patches first, twins before a few blocks, and rebuild them in reverse order.

    Before the first block those go that differ least from the first patch of their cell of 2 x 2,
    and where that is not enough, of cells of 4 x 4 and 8 x 8.
    Before four blocks of the first half (fewer where there are few) those go that have the most
    similar counterpart, by bipartite soft matching (Bolya et al., arXiv 2210.09461) of keys and, a
    little, of places. What stays counts in attention for what it stands for, as far as the two are
    alike. A removed patch is rebuilt at the end (as in Neighbor-Guided Reconstruction of arXiv
    2512.18747) by what it was plus a locally linear combination of the change of the kept patches
    with the nearest keys, or before the first block states, and places. Between the steps nothing
    is searched or moved.

    Attributes:
        reduction_ratio: fraction of the patches of each attention segment (image, tile or video
            frame) that is gone behind the last step, in [0, 1). No step removes more than half.
        smooth_share: fraction of the removed patches that goes before the first block, in [0, 1].
        tolerance: how far a removed patch may be from the one that stands for it, in [0, 1]: 0 is
            equal, `None` any. Busy pictures then keep more than the ratio says, and the host waits
            for the device once a step.

    Raises:
        ValueError: a setting is out of range or of the wrong type.
    """

    reduction_ratio: float = 0.65
    smooth_share: float = 0.4
    tolerance: float | None = None

    def __post_init__(self) -> None:
        require_fraction("reduction_ratio", self.reduction_ratio)
        require_fraction("smooth_share", self.smooth_share, one=True)
        if self.tolerance is not None:
            require_fraction("tolerance", self.tolerance, one=True)
            object.__setattr__(self, "tolerance", float(self.tolerance))

    def removals(self, depth: int) -> list[Removal]:
        """Cells, then twins."""
        wanted = self.reduction_ratio * self.smooth_share
        fractions = [max(0.0, min(wanted, most) - least) for _, least, most in CELLS]
        rest = self.reduction_ratio - sum(fractions)
        steps = [
            Removal(0, partial(smooth, side=side), False, fraction, self.tolerance)
            for (side, *_), fraction in zip(CELLS, fractions, strict=True)
        ]
        steps += [
            Removal(round(place * depth), twins, True, rest * share, self.tolerance)
            for place, share in TWINS
        ]
        return [step for step in steps if step.fraction] or steps[:1]
