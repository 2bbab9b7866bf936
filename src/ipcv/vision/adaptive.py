"""Adaptive pruning: smooth cells first, then twins in a few blocks; rebuilt at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ipcv.core.config import require_fraction
from ipcv.vision.every_block import EveryBlockMethod
from ipcv.vision.matching import beside_places, match
from ipcv.vision.pruning import PruningRun
from ipcv.vision.reconstruction import linear
from ipcv.vision.tokens import TokenRun

NUM_NEIGHBORS = 5
"""Kept patches that rebuild a removed one."""

STEPS = ((1 / 12, 0.4), (2 / 12, 0.25), (3 / 12, 0.2), (5 / 12, 0.15))
"""Where twins go: depths of blocks, as fractions of all, and shares of what they remove."""


@dataclass(frozen=True)
class Adaptive(EveryBlockMethod):
    """Prune smooth patches first, twins in a few blocks, and rebuild them in reverse order.

    Before the first block those go that differ least from the first patch of their cell of 2 x 2,
    as by `MixedResolution`. In four blocks of the first half (fewer where there are few) those go
    that have the most similar counterpart, by bipartite soft matching (Bolya et al.,
    arXiv 2210.09461) of keys and, a little, of places. In the block that removes it a patch still
    serves as key and value (Attention Stabilization of arXiv 2512.18747); from then on its
    counterpart counts for it in attention, too, as far as the two are alike. It is rebuilt by what
    it was plus a locally linear combination of the change of the kept patches with the nearest keys
    (or, before the first block, states) and places. Between the steps nothing is searched or moved.

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

    def removed_before(self, patches: int) -> int:
        """How many of so many patches of a segment are gone before the first block."""
        return round(self.reduction_ratio * self.smooth_share * patches)

    def removed_per_block(self, patches: int, depth: int) -> list[int]:
        """How many of so many patches of a segment each of `depth` blocks removes."""
        counts, twins = [0] * depth, self.reduction_ratio * (1 - self.smooth_share) * patches
        for place, share in STEPS:
            counts[round(place * depth)] += round(share * twins)
        return counts

    def start(
        self,
        lengths: tuple[int, ...],
        protected: int,
        rows: Tensor,
        positions: Callable[[], Tensor],
    ) -> TokenRun:
        """All rows."""
        sizes = torch.ones(rows.shape, device=rows.device)
        followed = partial(linear, num_neighbors=NUM_NEIGHBORS)
        return AdaptiveRun(lengths, protected, rows, sizes, positions()[rows], followed)


class AdaptiveRun(PruningRun):
    """Tokens whose twins are near them."""

    def _twins(self, keys: Tensor, r: int) -> tuple[Tensor, Tensor]:
        return match(beside_places(keys, self.places), r, self.protected)
