"""IPCV, the published method (arXiv 2512.18747)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from ipcv.core.config import require_fraction, require_name
from ipcv.vision.layout import Layout
from ipcv.vision.one_step import OneStepMethod
from ipcv.vision.reconstruction import RECONSTRUCTORS
from ipcv.vision.selection import Choice, Selection
from ipcv.vision.selectors import COMPARING, SELECTORS

Scope = Literal["item", "batch"]
NeighborScope = Literal["item", "frames"]


@dataclass(frozen=True)
class IPCV(OneStepMethod):
    """Information-Preserving Compression inside the vision encoder (arXiv 2512.18747, section 3).

    Attributes:
        prune_layer: 0-based index `p` of the first block that runs on kept patches only. At least
            1 where the selector ranks patches by how much block `p - 1` changed them, as the
            published one does.
        reduction_ratio: fraction of the patches of each item that is removed, in [0, 1). Each item
            keeps `max(1, int(patches * (1 - reduction_ratio)))`.
        stabilization_layers: number `A` of blocks, from `prune_layer` on, in which the removed
            patches still serve as keys and values (Attention Stabilization). Values beyond the
            encoder's depth mean "all the rest".
        num_neighbors: number `k` of kept patches that rebuild a removed one (Neighbor-Guided
            Reconstruction). Where fewer are kept, all of them are used.
        scope: what patches compete and rebuild each other in. "item": one image or one video, so
            that no answer depends on what else is in the batch. "batch": everything in one encoder
            call, as in the published code; only for reproducing published numbers.
        selector: name of the rule for what is kept, in `ipcv.vision.selectors`; "difference" is
            the published one, "random" and "uniform" are controls.
        reconstruction: name of the rule for what rebuilds a removed patch, in
            `ipcv.vision.reconstruction`; "mean" is the published one, "none" leaves it out.
        neighbor_scope: where a removed patch of a video looks for neighbours. "item": in all of
            it, as published, in time quadratic in its length. "frames": among as many kept patches
            as three frames have on average, those around its own frame. Only encoders of whole
            videos (as in the Qwen family) tell frames apart; up to three are searched whole.

    Raises:
        ValueError: a setting is out of range or of the wrong type.
    """

    prune_layer: int = 3
    reduction_ratio: float = 0.65
    stabilization_layers: int = 7
    num_neighbors: int = 10
    scope: Scope = "item"
    selector: str = "difference"
    reconstruction: str = "mean"
    neighbor_scope: NeighborScope = "frames"

    def __post_init__(self) -> None:
        require_name("selector", self.selector, SELECTORS)
        self._require_integer("prune_layer", minimum=int(self.selector in COMPARING))
        require_fraction("reduction_ratio", self.reduction_ratio)
        self._require_integer("stabilization_layers", minimum=0)
        self._require_integer("num_neighbors", minimum=1)
        require_name("scope", self.scope, get_args(Scope))
        require_name("neighbor_scope", self.neighbor_scope, get_args(NeighborScope))
        require_name("reconstruction", self.reconstruction, RECONSTRUCTORS)

    def compete(self, layout: Layout) -> Layout:
        """Items, or with `scope="batch"` all of them as one."""
        return layout.merged() if self.scope == "batch" else layout

    def scores(self, previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
        """By the selector."""
        return SELECTORS[self.selector](previous, rows, layout)

    def select(self, choice: Choice, rows: Tensor) -> Selection:
        """The others follow their neighbours (section 3.2)."""
        rule = RECONSTRUCTORS[self.reconstruction]
        by_frames = self.neighbor_scope == "frames"
        return Selection.of(choice, rows, rule, self.num_neighbors, by_frames)
