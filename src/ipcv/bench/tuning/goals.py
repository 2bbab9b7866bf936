"""Goals of a search: the best at a speed, or the fastest that is good enough."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ipcv.bench.quality.records import Row
from ipcv.bench.tuning.candidates import Candidate
from ipcv.bench.tuning.trials import Trials
from ipcv.bench.variants import RATIOS
from ipcv.core.config import require_fraction

GRID = [i / 200 for i in range(191)]
"""Fractions of patches removed that a search tells apart."""


class Goal(ABC):
    """What makes one candidate better than another, and at which fraction."""

    def reaches(self, candidate: Candidate, trials: Trials) -> bool:
        """Whether the candidate has a chance."""
        return True

    @abstractmethod
    def values(
        self, pool: Sequence[Candidate], images: Sequence[Path], trials: Trials
    ) -> list[float]:
        """How good each is on these images; higher is better."""

    @abstractmethod
    def choose(
        self, finalists: Sequence[Candidate], images: Sequence[Path], trials: Trials
    ) -> tuple[Candidate, float] | None:
        """The best on all images, and its fraction; `None` where none will do."""


LAST = "last"
"""The round behind all others."""


@dataclass(frozen=True)
class Speedup(Goal):
    """The highest score of what makes the encoder so many times as fast.

    At first that is by FLOPs. In every later round the measured time of those that are left
    corrects it: what takes a tenth more than its share of time gets a tenth less of the FLOPs.

    Raises:
        ValueError: not above 1.
    """

    times: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.times) or self.times <= 1:
            raise ValueError(f"speedup must be a number above 1, got {self.times!r}")

    def __str__(self) -> str:
        return f"makes the encoder {self.times:g} times as fast"

    def reaches(self, candidate: Candidate, trials: Trials) -> bool:
        """By FLOPs."""
        return trials.replay.flops(candidate.at(GRID[-1])) <= 1 / self.times

    def values(
        self, pool: Sequence[Candidate], images: Sequence[Path], trials: Trials
    ) -> list[float]:
        """Scores, minus infinity for what is too slow."""
        return self._values(str(len(images)), pool, images, trials)

    def choose(
        self, finalists: Sequence[Candidate], images: Sequence[Path], trials: Trials
    ) -> tuple[Candidate, float] | None:
        """The one with the highest score."""
        values = self._values(LAST, finalists, images, trials)
        best = finalists[max(range(len(values)), key=values.__getitem__)]
        ratio = _rounds(trials, best)[LAST]["ratio"]
        return None if ratio is None else (best, ratio)

    def _values(
        self, turn: str, pool: Sequence[Candidate], images: Sequence[Path], trials: Trials
    ) -> list[float]:
        self._settle(turn, pool, trials)
        ratios = {c.name: _rounds(trials, c)[turn]["ratio"] for c in pool}
        at = {name: ratio for name, ratio in ratios.items() if ratio is not None}
        methods = {f"{c.name} {at[c.name]}": c.at(at[c.name]) for c in pool if c.name in at}
        scores = trials.scores(methods, images)
        return [scores.get(f"{c.name} {at.get(c.name)}", -math.inf) for c in pool]

    def _settle(self, turn: str, pool: Sequence[Candidate], trials: Trials) -> None:
        """Put into the records with which fraction each candidate takes part in this round."""
        rounds = {c: own for c in pool if turn not in (own := _rounds(trials, c))}
        before = {c: next(reversed(own.values()), {}) for c, own in rounds.items()}
        timed = {c.name: c.at(row["ratio"]) for c, row in before.items() if row.get("ratio")}
        times = trials.replay.times(timed) if timed else {}
        for candidate, earlier in before.items():
            budget = earlier.get("budget", 1 / self.times)
            if candidate.name in times:
                budget /= self.times * times[candidate.name]
            row = {"candidate": candidate.name, "round": turn, "budget": budget}
            trials.records.add(row | {"ratio": ratio_within(budget, candidate, trials)})


def _rounds(trials: Trials, candidate: Candidate) -> dict[str, Row]:
    """What the records say of the candidate, by round."""
    rows = trials.records.rows
    return {row["round"]: row for row in rows if row.get("candidate") == candidate.name}


def ratio_within(budget: float, candidate: Candidate, trials: Trials) -> float | None:
    """The least fraction at which the FLOPs are within the budget.

    They fall with it, almost along a line: few counts bracket the place.
    """

    def flops(place: int) -> float:
        return trials.replay.flops(candidate.at(GRID[place]))

    low, high = 0, len(GRID) - 1
    above, below = flops(low), flops(high)
    if above <= budget:
        return GRID[low]
    if below > budget:
        return None
    while high - low > 1:
        likely = low + round((high - low) * (above - budget) / (above - below))
        place = min(max(likely, low + 1), high - 1)
        counted = flops(place)
        if counted <= budget:
            high, below = place, counted
        else:
            low, above = place, counted
    return GRID[high]


LADDER = (0.2, *RATIOS, 0.9)
"""Fractions at which scores are measured to find where they fall below a floor."""


@dataclass(frozen=True)
class Floor(Goal):
    """The fastest of what has at least this score on the images searched on.

    By FLOPs, and of the finalists by measured time.

    Raises:
        ValueError: not in [0, 1).
    """

    score: float

    def __post_init__(self) -> None:
        require_fraction("fidelity", self.score)

    def __str__(self) -> str:
        return f"makes the encoder faster and keeps a fidelity of {self.score:g}"

    def values(
        self, pool: Sequence[Candidate], images: Sequence[Path], trials: Trials
    ) -> list[float]:
        """FLOPs, negative."""
        crossings = self._crossings(pool, images, trials)
        return [-trials.replay.flops(c.at(r)) for c, (_, r) in zip(pool, crossings, strict=True)]

    def choose(
        self, finalists: Sequence[Candidate], images: Sequence[Path], trials: Trials
    ) -> tuple[Candidate, float] | None:
        """The fastest."""
        crossings = dict(zip(finalists, self._crossings(finalists, images, trials), strict=True))
        likely = {f"{c.name} {ratio}": c.at(ratio) for c, (_, ratio) in crossings.items()}
        scores = trials.scores(likely, images)
        ratios = {
            candidate: likely if scores[f"{candidate.name} {likely}"] >= self.score else known
            for candidate, (known, likely) in crossings.items()
        }
        methods = {c.name: c.at(ratio) for c, ratio in ratios.items() if ratio}
        times = trials.replay.times(methods)
        fast = [c for c in ratios if times.get(c.name, 1) < 1]
        best = min(fast, key=lambda c: times[c.name], default=None)
        return None if best is None else (best, ratios[best])

    def _crossings(
        self, pool: Sequence[Candidate], images: Sequence[Path], trials: Trials
    ) -> list[tuple[float, float]]:
        """Per candidate a fraction that is known to do, and the greatest that is likely to."""
        methods = {f"{c.name} {ratio}": c.at(ratio) for c in pool for ratio in LADDER}
        scores = trials.scores(methods, images)
        return [self._crossing([scores[f"{c.name} {ratio}"] for ratio in LADDER]) for c in pool]

    def _crossing(self, scores: Sequence[float]) -> tuple[float, float]:
        curve = list(zip((0.0, *LADDER), (1.0, *scores), strict=True))
        for (low, before), (high, after) in pairwise(curve):
            if after < self.score:
                ratio = low + (high - low) * (before - self.score) / (before - after)
                return low, max(step for step in GRID if step <= ratio)
        return LADDER[-1], LADDER[-1]
