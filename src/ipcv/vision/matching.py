"""Matching of tokens: counterparts that stand for others, and how well they do."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ipcv.core import ops
from ipcv.vision.cells import cell_numbers, distance_to_first

PLACE_WEIGHT = 0.09
"""What nearness along one side of the picture adds to the cosine of keys."""

PICTURE_ANGLE = 2.4
"""Radians from one end of a picture's longer side to the other."""


def match(keys: Tensor, r: int, protected: int = 0) -> tuple[Tensor, Tensor]:
    """Bipartite soft matching of Token Merging (Bolya et al., arXiv 2210.09461, section 3).

    Every other token is a candidate, and is drawn to the most similar of the others; the `r` most
    similar candidates are merged.

    Args:
        keys: `(G, n, D)`, compared by cosine.
        r: tokens to merge, at most `(n - protected) // 2`.
        protected: tokens at the start that are not merged, and that nothing is merged into.

    Returns:
        `kept (G, n - r)`, which tokens stay, and `destination (G, n)`, the place among those into
        which each token goes; int64.
    """
    best, counterpart = best_counterparts(keys[:, protected:])
    merged = _lowest(-best, r)
    target = protected + 2 * counterpart.gather(1, merged) + 1
    return _leave_out(protected + 2 * merged, target, keys.shape[1])


def beside_places(keys: Tensor, places: Tensor) -> Tensor:
    """Keys with places as more features, so that near tokens match before distant ones.

    To the cosine of two keys that of the angles between them is added, by rows and by columns, of
    which the whole picture spans `PICTURE_ANGLE`, each with the weight `PLACE_WEIGHT`.

    Args:
        keys: `(G, n, D)`.
        places: `(G, n, 3)` int64: frame or tile, row and column of each; one frame a group.

    Returns:
        `(G, n, D + 4)` fp32.
    """
    extent = places[..., 1:].amax((1, 2), keepdim=True) + 1
    angle = places[..., 1:] * (PICTURE_ANGLE / extent)
    on_circles = PLACE_WEIGHT**0.5 * torch.cat([angle.cos(), angle.sin()], dim=-1)
    return torch.cat([F.normalize(keys.float(), dim=-1), on_circles], dim=-1)


class Offers(NamedTuple):
    """Tokens of `G` groups that could go, and who would stand for them.

    Attributes:
        cost: `(G, c)` fp32, how far each is from who would stand for it, as a fraction of their
            length; infinite where it must stay.
        target: `(G, c)` int64, the place in its group of who would stand for it.
        candidates: `(c,)` int64, the places of those that could go.
    """

    cost: Tensor
    target: Tensor
    candidates: Tensor

    def accept(self, length: int, r: int) -> tuple[Tensor, Tensor]:
        """The `r` cheapest of each group go.

        Returns:
            `kept (G, length - r)`, which of the `length` tokens stay, and `destination (G,
            length)`, the place among those of the one that stands for each; int64.
        """
        chosen = _lowest(self.cost, r)
        return _leave_out(self.candidates[chosen], self.target.gather(1, chosen), length)

    def part(self, groups: slice) -> Offers:
        """Those of some of the groups."""
        return Offers(self.cost[groups], self.target[groups], self.candidates)


def smooth(states: Tensor, places: Tensor, protected: int = 0, side: int = 2) -> Offers:
    """Tokens for which the first one of their cell could stand.

    Args:
        states: `(G, n, C)`, compared by Euclidean distance.
        places: `(G, n, 3)` int64: frame or tile, row and column of each; one frame a group.
        protected: tokens at the start that stay, and that stand for no other.
        side: patches along the side of a cell.
    """
    states = states[:, protected:]
    distance, first = distance_to_first(states, cell_numbers(places[:, protected:], side))
    length = ops.norms(states).square().mean(1, keepdim=True).sqrt()
    finite = torch.finfo(length.dtype)
    length = length.nan_to_num(nan=1, posinf=finite.max).clamp(min=finite.tiny)
    candidates = torch.arange(states.shape[1], device=states.device)
    return Offers(distance / length, protected + first, protected + candidates)


def twins(keys: Tensor, places: Tensor, protected: int = 0) -> Offers:
    """Tokens for which the one with the most similar key could stand, if it is near.

    Every other one could go, as in `match`; arguments as for `smooth`. Its cost is the sine of half
    the angle.
    """
    candidates = torch.arange(protected, keys.shape[1], 2, device=keys.device)
    if keys.shape[1] - protected < 2:
        nobody = candidates.new_empty(len(keys), 0)
        return Offers(nobody.float(), nobody, candidates[:0])
    best, counterpart = best_counterparts(beside_places(keys, places)[:, protected:])
    return Offers(((1 - best) / 2).clamp(min=0).sqrt(), protected + 2 * counterpart + 1, candidates)


def _lowest(values: Tensor, r: int) -> Tensor:
    """`(G, r)`: places of the lowest of `(G, n)`; equal ones are chosen evenly over the group."""
    evenly = ops.spread_order(values.shape[1], values.device)
    return evenly[values[:, evenly].argsort(dim=1, stable=True)[:, :r]]


def _leave_out(left_out: Tensor, target: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Of `length` tokens go on without some `(G, r)`, for which others `(G, r)` stand."""
    stays = left_out.new_ones(len(left_out), length, dtype=torch.bool)
    stays.scatter_(1, left_out, False)
    kept = (~stays).int().argsort(dim=1, stable=True)[:, : length - left_out.shape[1]]
    destination = stays.cumsum(1) - 1
    destination.scatter_(1, left_out, destination.gather(1, target))
    return kept, destination


def likeness(states: Tensor, others: Tensor) -> Tensor:
    """How alike pairs of vectors `(..., C)` are: 1 if equal, 0 if at right angles or beyond.

    One less their squared distance in units of the sum of their squared norms.
    """
    scale = states.square().sum(-1) + others.square().sum(-1)
    distance = (states - others).square().sum(-1)
    return (1 - distance / scale.clamp(min=torch.finfo(scale.dtype).tiny)).clamp(min=0)


def best_counterparts(states: Tensor) -> tuple[Tensor, Tensor]:
    """For every other token, from the first on, the most cosine-similar one of the rest.

    Similarities are held under `ops.NEIGHBOR_MEMORY_BUDGET`.

    Args:
        states: `(G, n, D)`, `n` at least 2.

    Returns:
        `(G, (n + 1) // 2)` similarities, fp32, and places among the rest, int64.
    """
    unit = F.normalize(states.float(), dim=-1)
    candidates, others = unit[:, ::2], unit[:, 1::2].transpose(1, 2)
    (num_groups, length, _), row_bytes = candidates.shape, 4 * others.shape[2]
    row_step = min(length, max(1, ops.NEIGHBOR_MEMORY_BUDGET // row_bytes))
    group_step = max(1, ops.NEIGHBOR_MEMORY_BUDGET // (row_bytes * row_step))
    best = candidates.new_empty(num_groups, length)
    counterpart = torch.empty_like(best, dtype=torch.int64)
    with ops.full_precision(states.device):
        for group in _slices(num_groups, group_step):
            for row in _slices(length, row_step):
                found = (candidates[group, row] @ others[group]).max(dim=-1)
                best[group, row], counterpart[group, row] = found
    return best, counterpart


def _slices(length: int, step: int) -> list[slice]:
    return [slice(first, first + step) for first in range(0, length, step)]
