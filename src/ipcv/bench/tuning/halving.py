"""Successive halving: a little work on everything, much on what does well."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

C = TypeVar("C")
U = TypeVar("U")
Values = Callable[[Sequence[C], Sequence[U]], Sequence[float]]
"""The value of each candidate on the units; higher is better."""

FIRST = 4
"""Units that everything is tried on."""

FACTOR = 3
"""How many times more units the best go on to, and which part of the candidates that is."""

FINALISTS = 3
"""The fewest candidates that are tried on all units."""


def rungs(units: int) -> list[int]:
    """Units per round: `FIRST` and ever more, all in the last."""
    sizes = [FIRST]
    while sizes[-1] * FACTOR < units:
        sizes.append(sizes[-1] * FACTOR)
    return [*sizes, units] if units > FIRST else [units]


def best_part(pool: Sequence[C], values: Sequence[float], always: Collection[C] = ()) -> list[C]:
    """One in `FACTOR`, the best first, and behind these what is `always` kept."""
    order = sorted(range(len(pool)), key=lambda i: -values[i])
    count = max(FINALISTS, math.ceil(len(pool) / FACTOR))
    return [pool[i] for i in order[:count]] + [pool[i] for i in order[count:] if pool[i] in always]


def halve(
    pool: Sequence[C],
    units: Sequence[U],
    values: Values[C, U],
    always: Collection[C] = (),
) -> list[C]:
    """The best candidates, by their values on all units, best first.

    Args:
        pool: candidates, as many as there may be.
        units: what they are tried on, the first of them in every round.
        values: tries candidates.
        always: those that stay to the end.
    """
    for size in rungs(len(units)):
        pool = best_part(pool, values(pool, units[:size]), always)
    return list(pool)
