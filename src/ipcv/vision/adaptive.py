"""Adaptive pruning: smooth cells first, then twins in a few blocks; rebuilt at the end."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ipcv.core.config import require_fraction
from ipcv.vision.matching import beside_places, match, smoothest
from ipcv.vision.steps import Removal, StepsMethod

TWINS = ((1 / 12, 0.4), (2 / 12, 0.25), (3 / 12, 0.2), (5 / 12, 0.15))
"""Where twins go: depths of blocks, as fractions of all, and shares of what goes as twins."""


@dataclass(frozen=True)
class Adaptive(StepsMethod):
    """Prune smooth patches first, twins before a few blocks, and rebuild them in reverse order.

    Before the first block those go that differ least from the first patch of their cell of 2 x 2.
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

    Raises:
        ValueError: a setting is out of range or of the wrong type.
    """

    reduction_ratio: float = 0.65
    smooth_share: float = 0.4

    def __post_init__(self) -> None:
        require_fraction("reduction_ratio", self.reduction_ratio)
        require_fraction("smooth_share", self.smooth_share, one=True)

    def removals(self, depth: int) -> list[Removal]:
        """Cells, then twins."""
        smooth = self.reduction_ratio * self.smooth_share
        twins = self.reduction_ratio - smooth
        first = Removal(0, smooth, by_keys=False, pair=smoothest)
        return [first] + [
            Removal(round(place * depth), share * twins, by_keys=True, pair=near_twins)
            for place, share in TWINS
        ]


def near_twins(keys: Tensor, places: Tensor, r: int, protected: int) -> tuple[Tensor, Tensor]:
    """The `r` tokens with the most similar counterpart near them go; as `match`."""
    return match(beside_places(keys, places), r, protected)
