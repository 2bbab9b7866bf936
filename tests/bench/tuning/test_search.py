"""The search, on goals and costs that are written down here."""

import dataclasses
import math
from random import Random
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ipcv
from ipcv.baselines import ToMe
from ipcv.bench.quality.records import Records
from ipcv.bench.tuning.candidates import (
    Candidate,
    Space,
    named_candidates,
    of_settings,
    possible_outcomes,
)
from ipcv.bench.tuning.goals import GRID, Floor, Goal, Speedup, ratio_within
from ipcv.bench.tuning.halving import halve, rungs
from ipcv.bench.tuning.search import search
from tests.vision.adapters.families import build


def test_rounds_end_with_everything():
    assert rungs(3) == [3]
    assert rungs(4) == [4]
    assert rungs(100) == [4, 12, 36, 100]
    assert rungs(36) == [4, 12, 36]


def test_halving_keeps_the_best():
    asked = []

    def values(pool, units):
        asked.append((len(pool), len(units)))
        # Noise that ever more units average away.
        noise = Random(len(units))
        return [-abs(x - 37) + noise.uniform(-20, 20) / len(units) for x in pool]

    ranked = halve(range(100), range(200), values, always=[99])
    assert ranked[0] == 37
    assert ranked[-1] == 99
    assert asked == [(100, 4), (35, 12), (13, 36), (6, 108), (4, 200)]


class Fewest(Goal):
    """Few neighbours are good, a late layer better, and the first four images are all there is."""

    def __init__(self):
        self.seen = []

    def reaches(self, candidate, trials):
        settings = candidate.at(0.5)
        return not isinstance(settings, ToMe) and settings.prune_layer < 7

    def values(self, pool, images, trials):
        self.seen.append([candidate.name for candidate in pool])
        return [m.prune_layer - m.num_neighbors / 100 for m in (c.at(0.5) for c in pool)]

    def choose(self, finalists, images, trials):
        return finalists[0], 0.25


PUBLISHED = Candidate("published", lambda ratio: ipcv.IPCV(3, ratio))
MERGING = Candidate("tome", lambda ratio: ToMe(ratio / 12))


def tuned(goal, count=60, named=(PUBLISHED, MERGING), seed=0):
    return search(goal, named, Space(12, (ipcv.IPCV,)), range(40), None, count, Random(seed))


def test_the_best_that_was_tried_is_found():
    goal = Fewest()
    candidate, ratio = tuned(goal)
    tried = set(goal.seen[1])
    assert len(tried) == 61
    assert all("published" in pool and "tome" not in pool for pool in goal.seen)
    assert candidate.at(ratio).prune_layer == 6
    assert candidate.at(ratio).reduction_ratio == 0.25
    assert tuned(Fewest())[0].name == candidate.name
    assert set(goal.seen[0]) < tried


def test_half_are_variations_of_good_ones():
    """Which prune as late as allowed more often than random ones."""
    first = second = 0
    for seed in range(8):
        goal = Fewest()
        tuned(goal, seed=seed)
        late = ["prune_layer=6 " in name for name in goal.seen[1]]
        first, second = first + sum(late[:31]), second + sum(late[31:])
    assert second > 1.5 * first


def test_nothing_reaches_the_goal():
    class Never(Fewest):
        def reaches(self, candidate, trials):
            return False

    with pytest.raises(ValueError, match="ask for less"):
        tuned(Never())


class Costs:
    """FLOPs fall with the fraction, from where a method starts; some take more time than these."""

    def __init__(self, slow=()):
        self.slow = slow

    def flops(self, method):
        start = method.prune_layer / 12
        return start + (1 - start) * (1 - method.reduction_ratio)

    def times(self, methods):
        factors = {n: 1.25 if m.selector in self.slow else 1 for n, m in methods.items()}
        return {n: self.flops(m) * factors[n] for n, m in methods.items()}


def trials(replay):
    """Later layers keep more, and each fraction removed costs its square."""

    def scores(methods, images):
        return {n: 1 - m.reduction_ratio**2 / m.prune_layer for n, m in methods.items()}

    return SimpleNamespace(replay=replay, records=Records(None, {}), scores=scores)


def candidate(**settings):
    return of_settings(ipcv.IPCV(**settings))


def test_speedup_is_met_by_flops_and_then_by_time():
    goal, costs = Speedup(2), Costs(slow=("uniform",))
    fair, slow = candidate(prune_layer=2), candidate(prune_layer=2, selector="uniform")
    late = candidate(prune_layer=6)
    pool, about = [fair, slow, late], trials(costs)
    assert goal.reaches(fair, about)
    assert not goal.reaches(late, about)
    first = goal.values(pool, range(4), about)
    assert first[0] == first[1] > first[2] == -math.inf
    later = goal.values(pool, range(12), about)
    assert later[0] == first[0] > later[1] > later[2] == -math.inf
    best, ratio = goal.choose(pool, range(12), about)
    assert best is fair
    assert costs.flops(fair.at(ratio)) <= 0.5 < costs.flops(fair.at(GRID[GRID.index(ratio) - 1]))
    rows = [row for row in about.records.rows if row["candidate"] == slow.name]
    assert [row["round"] for row in rows] == ["4", "12", "last"]
    method = slow.at(rows[-1]["ratio"])
    assert 0.49 < 1.25 * costs.flops(method) <= 0.5
    before = list(about.records.rows)
    assert goal.values(pool, range(4), about) == first  # as at first: nothing is settled again
    assert goal.choose(pool, range(12), about) == (best, ratio)
    assert about.records.rows == before
    assert goal.choose([late], range(4), about) is None


@given(st.randoms(use_true_random=False), st.floats(0.1, 10), st.floats(0, 1.1))
def test_the_ratio_within_a_budget_is_that_of_a_scan(rng, power, budget):
    curve = sorted((rng.random() ** power for _ in GRID), reverse=True)
    costs = SimpleNamespace(flops=lambda ratio: curve[GRID.index(ratio)])
    scanned = [ratio for ratio, cost in zip(GRID, curve, strict=True) if cost <= budget]
    plain = Candidate("plain", lambda ratio: ratio)
    found = ratio_within(budget, plain, SimpleNamespace(replay=costs))
    assert found == min(scanned, default=None)


def test_floor_is_kept_by_the_fastest():
    goal, costs = Floor(0.9), Costs(slow=("uniform",))
    early, late = candidate(prune_layer=1), candidate(prune_layer=5)
    slow = candidate(prune_layer=4, selector="uniform")
    about = trials(costs)
    values = goal.values([early, late, slow], range(4), about)
    assert max(values) == values[2]  # by FLOPs
    best, ratio = goal.choose([early, late, slow], range(4), about)
    assert best is late
    # 1 - r^2 / 5 = 0.9 at 0.707; a chord of the ladder lies below the curve.
    assert 0.69 < ratio <= 0.707
    assert Floor(0.999).choose([early], range(4), about)[1] <= math.sqrt(0.001)
    bad = SimpleNamespace(
        replay=costs, records=None, scores=lambda methods, images: dict.fromkeys(methods, 0.5)
    )
    assert goal.choose([early], range(4), bad) is None


@pytest.mark.parametrize(("goal", "value"), [(Speedup, 1.0), (Speedup, math.nan), (Floor, 1.0)])
def test_goals_out_of_range(goal, value):
    with pytest.raises(ValueError, match="must be a number"):
        goal(value)


def test_named_methods_are_tried_once_and_where_they_work():
    plain = [c.name for c in named_candidates(build("qwen2_vl"))]
    assert plain[0] == "published"
    assert set(plain[1:]) == {
        "adaptive",
        "tome",
        "tome-decreasing",
        "pixelprune",
    }
    # No control, not the preset, which is adaptive here, and nothing for videos alone.
    windowed = build("qwen2_5_vl")
    windows = {c.name for c in named_candidates(windowed)}
    assert windows == set(plain) - {"tome", "tome-decreasing"}
    assert Space.of(windowed) == Space(4)


def test_what_can_be_served_is_tuned_to_what_is_served():
    merging = {"tome", "tome-decreasing"}
    served, alone = build("qwen2_vl"), build("qwen2_vl").model.visual
    names = {c.name for c in named_candidates(served)}
    assert merging < names
    assert {c.name for c in possible_outcomes(served)} == names - merging
    assert merging < {c.name for c in possible_outcomes(alone)}


def test_random_settings():
    space, rng = Space(4), Random(1)
    drawn = [space.draw(rng) for _ in range(200)]
    assert {type(settings) for settings in drawn} == {ipcv.IPCV, ipcv.Adaptive}
    assert {m.prune_layer for m in drawn if isinstance(m, ipcv.IPCV)} == {0, 1, 2, 3}
    assert {m.selector for m in drawn if isinstance(m, ipcv.IPCV)} == {"difference", "norm"}
    assert {m.reconstruction for m in drawn if isinstance(m, ipcv.IPCV)} == {"mean", "linear"}
    assert len({of_settings(m).name for m in drawn}) == len(set(drawn))
    for settings in drawn:
        other = space.vary(settings, rng)
        assert type(other) is type(settings)
        differing = [n for n, v in settings.to_dict().items() if other.to_dict()[n] != v]
        assert len(differing) <= 1 or differing == ["prune_layer", "selector"]
        assert of_settings(settings).at(0.25) == dataclasses.replace(settings, reduction_ratio=0.25)
