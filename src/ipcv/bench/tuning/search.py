"""The search: random settings, variations of the good ones, and successive halving."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from ipcv.bench.tuning.candidates import PUBLISHED, Candidate, Space, of_settings
from ipcv.bench.tuning.goals import Goal
from ipcv.bench.tuning.halving import FIRST, best_part, halve
from ipcv.bench.tuning.trials import Trials
from ipcv.vision.method import VisionMethod

ATTEMPTS = 20
"""Settings drawn for each one that is wanted, before the search goes on with fewer."""


def search(
    goal: Goal,
    named: Sequence[Candidate],
    space: Space,
    images: Sequence[Path],
    trials: Trials,
    count: int,
    rng: Random,
) -> tuple[Candidate, float]:
    """The best candidate for a goal, and its fraction of patches removed.

    Args:
        goal: what is best.
        named: candidates; one of the name "published" stays to the end.
        space: of further settings.
        images: to search on.
        trials: shows them.
        count: further settings to try: half of them random, half like the best so far.
        rng: chooses these.

    Raises:
        ValueError: nothing reaches the goal.
    """
    pool = [candidate for candidate in named if goal.reaches(candidate, trials)]

    def add(draw: Callable[[], VisionMethod], wanted: int) -> None:
        tried = {candidate.at(0.5) for candidate in pool}
        full = len(pool) + wanted
        for _ in range(ATTEMPTS * wanted):
            if len(pool) == full:
                break
            candidate = of_settings(draw())
            if candidate.at(0.5) not in tried and goal.reaches(candidate, trials):
                pool.append(candidate)
                tried.add(candidate.at(0.5))

    def values(pool: Sequence[Candidate], images: Sequence[Path]) -> list[float]:
        return goal.values(pool, images, trials)

    add(lambda: space.draw(rng), count - count // 2)
    best = best_part(pool, values(pool, images[:FIRST])) if pool else []
    models = [m for c in best if isinstance(m := c.at(0.5), space.kinds)]
    if models:
        add(lambda: space.vary(rng.choice(models), rng), count // 2)
    published = [candidate for candidate in pool if candidate.name == PUBLISHED]
    finalists = halve(pool, images, values, published) if pool else []
    chosen = goal.choose(finalists, images, trials) if finalists else None
    if chosen is None:
        raise ValueError(f"no setting {goal}: ask for less")
    return chosen
