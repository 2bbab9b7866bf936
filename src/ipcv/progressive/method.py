"""IPCV in many small steps: prune in every block what has a twin, rebuild all at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ipcv import ops
from ipcv.config import require_fraction, require_name
from ipcv.matching import match
from ipcv.neighbors import Reconstruction
from ipcv.progressive.run import (
    ProgressiveMethod,
    Run,
    Tokens,
    decreasing,
    proportional_attention,
)
from ipcv.reconstruction import RECONSTRUCTORS, Split


@dataclass(frozen=True)
class Progressive(ProgressiveMethod):
    """Prune a few patches in every block, and rebuild them in reverse order after the last.

    The patches that go are not those that changed least, but those with the most similar
    counterpart: by bipartite soft matching of keys, as in Token Merging (Bolya et al., arXiv
    2210.09461). In the block that removes it a patch still serves as key and value (the paper's
    Attention Stabilization); from then on its counterpart counts for both in attention. Unlike in
    Token Merging it is not averaged with that. It is rebuilt as in the paper, by what it was plus
    the change of the kept patches with the nearest keys and places. Removal is fastest in the first
    block, and decreases to none in the last.

    Attributes:
        reduction_ratio: fraction of the patches of each attention segment (image, tile or video
            frame) that is gone behind the last block, in [0, 1). No block removes more than half.
        num_neighbors: number `k` of kept patches that rebuild a removed one.
        reconstruction: name of the rule for that, in `ipcv.reconstruction`.

    Raises:
        ValueError: a setting is out of range or of the wrong type.
    """

    reduction_ratio: float = 0.8
    num_neighbors: int = 5
    reconstruction: str = "linear"

    def __post_init__(self) -> None:
        require_fraction("reduction_ratio", self.reduction_ratio)
        self._require_integer("num_neighbors", minimum=1)
        require_name("reconstruction", self.reconstruction, RECONSTRUCTORS)

    def removed_per_block(self, patches: int, depth: int) -> list[int]:
        """How many of so many patches of a segment each of `depth` blocks removes."""
        return decreasing(self.reduction_ratio * patches, depth)

    def start(
        self,
        lengths: tuple[int, ...],
        protected: int,
        rows: Tensor,
        positions: Callable[[], Tensor],
    ) -> Run:
        """All rows."""
        sizes = torch.ones(rows.shape, device=rows.device)
        return PruningRun(lengths, protected, rows, sizes, self, positions)


@dataclass
class _Step:
    """What one block removed: `(K,)`, `(R,)` places among its `(G * n)` tokens, ascending."""

    kept: Tensor
    removed: Tensor
    rebuild: Reconstruction


@dataclass
class PruningRun(Run):
    """Tokens that are patches as they are.

    Attributes:
        method: the settings.
        positions: gives `(N, 3)`: frame or tile, row and column of every row.
        steps: what was removed so far.
    """

    method: Progressive
    positions: Callable[[], Tensor]
    steps: list[_Step] = field(default_factory=list)

    def shrink(self, tokens: Tokens, r: int, scale: float) -> tuple[Tensor, Tensor]:
        """Only those that go on ask; all serve as keys and values."""
        states, query, sizes = tokens.states, tokens.query, self.sizes
        if r:
            keys = tokens.plain_key.mean(2)
            kept, destination = match(keys, r, self.protected)
            step = self._remove(keys, states, kept)
            states, query = (_chosen(x, step.kept) for x in (states, query))
            self.rows = self.rows.gather(1, kept)
            self.sizes = torch.zeros_like(sizes[:, : kept.shape[1]])
            self.sizes.scatter_add_(1, destination, sizes)
            self.steps.append(step)
        return states, proportional_attention(query, tokens.key, tokens.value, sizes, scale)

    def _remove(self, keys: Tensor, states: Tensor, kept: Tensor) -> _Step:
        """How to rebuild all but these `(G, K)`; keys tell who is whose neighbour."""
        (groups, length), width = self.rows.shape, kept.shape[1]
        goes = torch.ones_like(self.rows).scatter_(1, kept, 0)
        order = goes.argsort(dim=1, stable=True)  # kept ones first
        order += torch.arange(0, groups * length, length, device=order.device)[:, None]
        stay, go = (part.flatten() for part in order.split([width, length - width], dim=1))
        keys, states = keys.flatten(0, 1), states.flatten(0, 1)
        rows, lengths = self.rows.flatten(), ([length - width] * groups, [width] * groups)

        def positions() -> tuple[Tensor, Tensor]:
            places = self.positions()
            return places[rows[go]], places[rows[stay]]

        split = Split(keys[go], keys[stay], *lengths, positions)
        neighbors = RECONSTRUCTORS[self.method.reconstruction](split, self.method.num_neighbors)
        return _Step(stay, go, Reconstruction(states[go], states[stay], neighbors))

    def restore(self, tokens: Tensor) -> Tensor:
        """Undo the removals, the last one first."""
        rows = tokens.flatten(0, 1)
        for step in reversed(self.steps):
            rows = ops.merge_rows(rows, step.rebuild(rows), step.kept, step.removed)
        return rows.view(len(tokens), -1, rows.shape[1])


def _chosen(values: Tensor, places: Tensor) -> Tensor:
    """`(G, k, ...)` of `(G, n, ...)`, by `(G * k,)` places among all `G * n`."""
    chosen: Tensor = values.flatten(0, 1)[places].unflatten(0, (len(values), -1))
    return chosen
