"""Pairs of rows: who goes, and who stands for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from ipcv.core import ops
from ipcv.vision.layout import Layout
from ipcv.vision.matching import Offers, likeness

Offer = Callable[[Tensor, Tensor, int], Offers]
"""`(features (G, n, D), places (G, n, 3), protected)`: who could go, as `matching.twins`."""


class Pairs(NamedTuple):
    """Who goes on, of `N` rows.

    Attributes:
        kept, removed: `(K,)`, `(N - K,)` int64, ascending.
        destination: `(N,)` the place among the kept ones of the one that stands for each row.
        weight: `(N,)` fp32, how far a row counts there.
        counts, gone: rows kept and removed per group.
    """

    kept: Tensor
    removed: Tensor
    destination: Tensor
    weight: Tensor
    counts: list[int]
    gone: list[int]


def paired(
    offer: Offer,
    features: Tensor,
    places: Tensor,
    layout: Layout,
    most: Sequence[int],
    tolerance: float | None = None,
) -> Pairs:
    """The cheapest rows of each group go.

    Args:
        offer: says who could.
        features: `(N, D)` of the rows, by which they are compared.
        places: `(N, 3)` int64: frame or tile, row and column of each.
        layout: of the rows.
        most: how many go per group.
        tolerance: the highest cost of what goes, where there is one; the host waits for the device.

    Raises:
        RuntimeError: an export with a tolerance, by which shapes depend on the picture.
    """
    if tolerance is not None and getattr(torch.compiler, "is_exporting", bool)():
        raise RuntimeError(
            "with a tolerance, how many patches go depends on the picture, which torch.export "
            "cannot record: use a reduction_ratio alone"
        )
    lengths, protected = layout.group_lengths, layout.protected
    runs = ops.equal_runs(features, lengths)
    beside = zip(runs, ops.equal_runs(places, lengths), strict=True)
    offers = [offer(states, place, protected) for states, place in beside]
    if tolerance is not None:
        cheap = torch.cat([(own.cost <= tolerance).sum(1) for own in offers]).tolist()
        most = list(map(min, most, cheap))
    parts, group, first, first_kept = [], 0, 0, 0
    for states, own in zip(runs, offers, strict=True):
        for some, r in _equal(most[group : group + len(states)]):
            number, n, _ = (chosen := states[some]).shape
            kept, destination = own.part(some).accept(n, r)
            weight = _weights(chosen, kept, destination, protected)
            index = torch.arange(number, device=features.device)[:, None]
            rows = kept + index * n + first, destination + index * (n - r) + first_kept, weight
            parts.append([x.flatten() for x in rows])
            first, first_kept = first + number * n, first_kept + number * (n - r)
        group += len(states)
    kept, destination, weight = (torch.cat(part) for part in zip(*parts, strict=True))
    is_kept = torch.zeros_like(destination).index_fill_(0, kept, 1)
    removed = is_kept.argsort(stable=True)[: len(features) - len(kept)]
    counts = [n - r for n, r in zip(lengths, most, strict=True)]
    return Pairs(kept, removed, destination, weight, counts, list(most))


def _equal(numbers: Sequence[int]) -> Iterator[tuple[slice, int]]:
    """Runs of equal numbers: where they are, and the number."""
    first = 0
    for number, equal in groupby(numbers):
        last = first + len(list(equal))
        yield slice(first, last), number
        first = last


def _weights(states: Tensor, kept: Tensor, destination: Tensor, protected: int) -> Tensor:
    """`(G, n)`: how far each row is like the one that stands for it."""
    centered = states.float()
    centered = centered - centered[:, protected:].mean(1, keepdim=True)
    target = kept.gather(1, destination)[..., None].expand_as(centered)
    return likeness(centered, centered.gather(1, target))
