"""Progressive pruning: what is smooth first, in every block what has a twin; rebuilt at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ipcv.core.config import require_fraction, require_name
from ipcv.vision.every_block import EveryBlockMethod
from ipcv.vision.pruning import PruningRun
from ipcv.vision.reconstruction import RECONSTRUCTORS
from ipcv.vision.tokens import TokenRun, decreasing


@dataclass(frozen=True)
class Progressive(EveryBlockMethod):
    """Prune smooth patches first, then a few in every block, and rebuild them in reverse order.

    Before the first block those go that differ least from the first patch of their cell of 2 x 2,
    as by `MixedResolution`. In the blocks those go that have the most similar counterpart, by
    bipartite soft matching of keys, as in Token Merging (Bolya et al., arXiv 2210.09461): most in
    the first, none in the last. In the block that removes it a patch still serves as key and value
    (the paper's Attention Stabilization); from then on its counterpart counts for it in attention,
    too, as far as the two are alike. Unlike in Token Merging it is not averaged with that. It is
    rebuilt as in the paper, by what it was plus the change of the kept patches with the nearest
    keys (or, before the first block, states) and places.

    Attributes:
        reduction_ratio: fraction of the patches of each attention segment (image, tile or video
            frame) that is gone behind the last block, in [0, 1). No step removes more than half.
        num_neighbors: number `k` of kept patches that rebuild a removed one.
        reconstruction: name of the rule for that, in `ipcv.vision.reconstruction`.
        smooth_share: fraction of the removed patches that goes before the first block, in [0, 1].

    Raises:
        ValueError: a setting is out of range or of the wrong type.
    """

    reduction_ratio: float = 0.8
    num_neighbors: int = 5
    reconstruction: str = "linear"
    smooth_share: float = 0.5

    def __post_init__(self) -> None:
        require_fraction("reduction_ratio", self.reduction_ratio)
        self._require_integer("num_neighbors", minimum=1)
        require_fraction("smooth_share", self.smooth_share, one=True)
        require_name("reconstruction", self.reconstruction, RECONSTRUCTORS)

    def removed_before(self, patches: int) -> int:
        """How many of so many patches of a segment are gone before the first block."""
        return round(self.reduction_ratio * self.smooth_share * patches)

    def removed_per_block(self, patches: int, depth: int) -> list[int]:
        """How many of so many patches of a segment each of `depth` blocks removes."""
        return decreasing(self.reduction_ratio * (1 - self.smooth_share) * patches, depth)

    def start(
        self,
        lengths: tuple[int, ...],
        protected: int,
        rows: Tensor,
        positions: Callable[[], Tensor],
    ) -> TokenRun:
        """All rows."""
        sizes = torch.ones(rows.shape, device=rows.device)
        rule, k = RECONSTRUCTORS[self.reconstruction], self.num_neighbors
        places = positions()[rows]
        return PruningRun(lengths, protected, rows, sizes, places, lambda split: rule(split, k))
