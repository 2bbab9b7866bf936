"""Numbers from records: quality per variant, and per method at equal measured time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ipcv.bench.quality.intervals import Estimate, mean
from ipcv.bench.quality.records import Row
from ipcv.bench.variants import UNCOMPRESSED, method_of

RIVALS = ("downsample", "tome-decreasing")
"""The methods that the others are compared to at equal time."""


@dataclass(frozen=True)
class Quality:
    """One variant on all units (images or scenes).

    Attributes:
        scores: `(units,)` per unit.
        weights: `(units,)` how much each counts.
        time: encoder time relative to uncompressed.
    """

    scores: np.ndarray[Any, np.dtype[np.float64]]
    weights: np.ndarray[Any, np.dtype[np.float64]]
    time: float

    @property
    def estimate(self) -> Estimate:
        """Its mean over units."""
        return mean(self.scores.tolist(), self.weights.tolist())


def qualities(
    rows: Sequence[Row], unit: str, score: str, times: Mapping[str, float]
) -> dict[str, Quality]:
    """Per variant, from rows with `unit`, `variant` and a `score`, and the variants' times.

    Units that some variant lacks are left out. A score may be a list of results, such as those of
    the questions about a scene; then the unit counts as often.
    """
    table: dict[str, dict[Any, Any]] = {}
    for row in rows:
        if "variant" in row and row[score] is not None:
            table.setdefault(row["variant"], {})[row[unit]] = row[score]
    common = sorted(set.intersection(*map(set, table.values()))) if table else []
    if not common:
        return {}
    return {
        name: _quality([own[unit] for unit in common], times[name]) for name, own in table.items()
    }


def _quality(results: Sequence[Any], time: float) -> Quality:
    values = [result if isinstance(result, list) else [result] for result in results]
    means, sizes = [np.mean(v) for v in values], [len(v) for v in values]
    return Quality(np.array(means, dtype=float), np.array(sizes, dtype=float), time)


def at_equal_time(
    found: Mapping[str, Quality], times: Sequence[float], baseline: str = RIVALS[0]
) -> dict[str, list[tuple[Estimate, Estimate | None] | None]]:
    """Per method and time its quality, and by how much that is above the baseline's.

    Quality at a time lies on the line between the method's two nearest measured settings, unit by
    unit, the uncompressed model among them; `None` beyond the fastest. Differences are paired.

    Args:
        found: per variant.
        times: encoder time relative to uncompressed.
        baseline: a method.
    """
    methods = dict.fromkeys(method_of(name) for name in found if name != UNCOMPRESSED)
    weights = found[UNCOMPRESSED].weights.tolist()
    result: dict[str, list[tuple[Estimate, Estimate | None] | None]] = {m: [] for m in methods}
    for time in times:
        scores = {method: interpolated(found, method, time) for method in methods}
        rival = scores.get(baseline)
        for method, own in scores.items():
            if own is None:
                result[method].append(None)
                continue
            gain = None
            if rival is not None and method != baseline:
                gain = mean((own - rival).tolist(), weights)
            result[method].append((mean(own.tolist(), weights), gain))
    return result


def interpolated(
    found: Mapping[str, Quality], method: str, time: float
) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """`(units,)` scores of the method at that time; `None` where it is not measured so fast."""
    curve = [q for name, q in found.items() if method_of(name) == method]
    curve = sorted([*curve, found[UNCOMPRESSED]], key=lambda quality: quality.time)
    for left, right in pairwise(curve):
        if left.time <= time <= right.time:
            share = (time - left.time) / (right.time - left.time)
            return (1 - share) * left.scores + share * right.scores
    return None


class EqualTime(NamedTuple):
    """Methods compared at equal encoder time; `None` where a method is not measured.

    Attributes:
        times: relative to uncompressed.
        quality: per method, at each time.
        gains: per rival and other method likewise, by how much it is above the rival.
    """

    times: Sequence[float]
    quality: dict[str, list[Estimate | None]]
    gains: dict[str, dict[str, list[Estimate | None]]]


def compare_at(found: Mapping[str, Quality], times: Sequence[float]) -> EqualTime:
    """All methods with each other, and with those `RIVALS` that are among them."""
    if not found:
        return EqualTime(times, {}, {})
    tables = {rival: at_equal_time(found, times, rival) for rival in RIVALS}
    cells = tables[RIVALS[0]]
    return EqualTime(
        times,
        {method: [cell and cell[0] for cell in row] for method, row in cells.items()},
        {
            rival: {
                method: [cell and cell[1] for cell in row]
                for method, row in table.items()
                if method != rival
            }
            for rival, table in tables.items()
            if rival in table
        },
    )
