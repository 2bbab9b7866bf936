"""Progressive pruning: what is smooth first, in every block what has a twin; rebuilt at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ipcv.core import ops
from ipcv.core.config import require_fraction, require_name
from ipcv.vision.every_block import EveryBlockMethod
from ipcv.vision.matching import likeness, match, smoothest
from ipcv.vision.neighbors import Neighbors, Reconstruction
from ipcv.vision.reconstruction import RECONSTRUCTORS, Partition
from ipcv.vision.tokens import Attend, TokenRun, Tokens, decreasing


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


@dataclass
class _Step:
    """What one step removed: `(K,)`, `(R,)` places among its `(G * n)` tokens, ascending."""

    kept: Tensor
    removed: Tensor
    rebuild: Reconstruction

    def to(self, device: torch.device) -> None:
        """Follow a model whose blocks are split over devices."""
        if self.kept.device != device:
            self.kept, self.removed = self.kept.to(device), self.removed.to(device)
            self.rebuild.to(device)


@dataclass
class PruningRun(TokenRun):
    """Tokens that are patches as they are, fewer by steps that are undone at the end.

    Attributes:
        places: `(G, n, 3)` of each token: frame or tile, row and column.
        followed: says which kept tokens rebuild removed ones.
        steps: what was removed so far.
    """

    places: Tensor
    followed: Callable[[Partition], Neighbors]
    steps: list[_Step] = field(default_factory=list)

    def begin(self, states: Tensor) -> Tensor:
        """Only patches with contrast, and the first one of each cell."""
        if r := self.lengths[0] - self.lengths[1]:
            kept = self._remove(states, states, *smoothest(states, self.places, r, self.protected))
            states = _chosen(states, kept)
        return states

    def shrink(self, tokens: Tokens, r: int, attend: Attend) -> tuple[Tensor, Tensor]:
        """Only those that go on ask; all serve as keys and values."""
        states, query, sizes = tokens.states, tokens.query, self.sizes
        if r:
            keys = tokens.plain_key.mean(2)
            kept = self._remove(states, keys, *self._twins(keys, r))
            states, query = (_chosen(x, kept) for x in (states, query))
        return states, attend(query, tokens.key, tokens.value, sizes)

    def _twins(self, keys: Tensor, r: int) -> tuple[Tensor, Tensor]:
        """Who goes on without the `r` that have the most similar counterpart, as `match`."""
        return match(keys, r, self.protected)

    def _remove(self, states: Tensor, keys: Tensor, kept: Tensor, destination: Tensor) -> Tensor:
        """Go on with `kept (G, K)`, each in place of those whose `destination (G, n)` it is.

        Keys tell who is whose neighbour.

        Returns:
            `(G * K,)` places of the kept ones among all `G * n` tokens.
        """
        counted = self.sizes * self._weights(keys, kept, destination)
        sizes = torch.zeros_like(self.sizes[:, : kept.shape[1]])
        self.sizes = sizes.scatter_add_(1, destination, counted)
        (groups, length), width = self.rows.shape, kept.shape[1]
        is_kept = torch.zeros_like(self.rows).scatter_(1, kept, 1)
        gone = is_kept.argsort(dim=1, stable=True)[:, : length - width]
        offsets = torch.arange(0, groups * length, length, device=kept.device)[:, None]
        stay, go = ((part + offsets).flatten() for part in (kept, gone))
        keys, states = keys.flatten(0, 1), states.flatten(0, 1)
        places, lengths = self.places.flatten(0, 1), ([length - width] * groups, [width] * groups)
        partition = Partition(keys[go], keys[stay], *lengths, lambda: (places[go], places[stay]))
        rebuild = Reconstruction(states[go], states[stay], self.followed(partition))
        self.steps.append(_Step(stay, go, rebuild))
        self.rows, self.places = (_chosen(x, stay) for x in (self.rows, self.places))
        return stay

    def _weights(self, keys: Tensor, kept: Tensor, destination: Tensor) -> Tensor:
        """`(G, n)`: how far each token counts at its destination, as far as it is like that."""
        centered = keys.float() - keys[:, self.protected :].float().mean(1, keepdim=True)
        target = kept.gather(1, destination)[..., None].expand_as(keys)
        return likeness(centered, centered.gather(1, target))

    def to(self, device: torch.device) -> None:
        """With what was removed."""
        super().to(device)
        self.places = self.places.to(device)
        for step in self.steps:
            step.to(device)

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
