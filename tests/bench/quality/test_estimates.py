"""Intervals, tests, and comparison at equal time, against hand-made numbers."""

from math import comb, nan, sqrt

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from ipcv import IPCV
from ipcv.bench.quality.estimates import at_equal_time, compare_at, qualities
from ipcv.bench.quality.intervals import mcnemar, mean, proportion
from ipcv.bench.quality.relative_time import relative_times
from ipcv.bench.quality.table import fidelity_summary, ranked_images, suite_summary
from ipcv.bench.variants import Variant


@given(st.integers(0, 50), st.integers(1, 50))
def test_wilson(right, more):
    n = right + more
    p, z = right / n, 1.959963984540054
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert proportion(right, n) == pytest.approx(
        (p, max(0, centre - half), centre + half), abs=1e-9
    )


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_mcnemar_is_the_exact_sign_test(pairs):
    first, second = zip(*pairs, strict=True)
    b, c = sum(x and not y for x, y in pairs), sum(y and not x for x, y in pairs)
    tail = sum(comb(b + c, i) for i in range(min(b, c) + 1)) / 2 ** (b + c)
    assert mcnemar(first, second) == pytest.approx(min(1, 2 * tail))


def test_bootstrap_is_about_the_standard_error():
    values = np.random.default_rng(1).normal(3, 2, 400)
    estimate = mean(values.tolist())
    assert estimate.mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.05)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.05)


def test_weights_and_single_units():
    assert mean([0, 1, 1], [4, 1, 1]).mean == pytest.approx(1 / 3)
    single = mean([0.5])
    assert single.mean == 0.5
    assert single == pytest.approx((0.5, nan, nan), nan_ok=True)


SCORES = {"uncompressed": 0.9, "ours 0.5": 0.8, "ours 0.8": 0.6, "downsample 0.5": 0.5}
TIMES = {"uncompressed": 1.0, "ours 0.5": 0.6, "ours 0.8": 0.4, "downsample 0.5": 0.5}
ROWS = [
    {"image": image, "variant": variant, "cosine": score + 0.01 * i}
    for i, image in enumerate("xyz")
    for variant, score in SCORES.items()
]


def test_relative_times_are_paired_medians():
    clock = {"a": iter([9, 9, 10, 5, 30, 15, 1, 5]), "b": iter([9, 9, 10, 4, 20, 8, 10, 4])}
    names = {"uncompressed": Variant(), "ours": Variant(IPCV())}
    steps = []
    times = relative_times("ab", names, lambda unit, _: next(clock[unit]), lambda: steps.append(1))
    assert times == {"uncompressed": 1, "ours": 0.45}  # of 5/10, 15/30, 5/1 and three times 4/10
    assert len(steps) == 4


def test_interpolation_and_paired_gains():
    table = at_equal_time(qualities(ROWS, "image", "cosine", TIMES), (0.8, 0.5, 0.3))
    (ours, gain), at_half, too_fast = table["ours"]
    assert ours.mean == pytest.approx(0.81 + 0.05)  # half-way from 0.6 to 1.0
    assert gain.mean == pytest.approx(0.86 - (0.51 + 0.6 * 0.4))
    assert gain.high - gain.low == pytest.approx(0)  # the same for every unit
    assert at_half[0].mean == pytest.approx(0.71)
    assert too_fast is None
    assert table["downsample"][0][1] is None


def test_rivals_that_were_measured():
    compared = compare_at(qualities(ROWS, "image", "cosine", TIMES), (0.8, 0.3))
    assert compared.gains.keys() == {"downsample"}  # and not Token Merging
    assert compared.quality.keys() == {"ours", "downsample"}
    gain, too_fast = compared.gains["downsample"]["ours"]
    assert gain.mean == pytest.approx(0.86 - (0.51 + 0.6 * 0.4))
    assert too_fast is None
    assert compare_at({}, (0.8,)).quality == {}


def test_units_that_a_variant_lacks_are_left_out():
    rows = [r for r in ROWS if r["variant"] != "ours 0.8" or r["image"] != "z"]
    found = qualities(rows, "image", "cosine", TIMES)
    assert len(found["uncompressed"].scores) == 2
    assert qualities([], "image", "cosine", TIMES) == {}


def test_suite_summary():
    def scene(number, variant, right):
        kinds = ["read", "count"]
        return {
            "scene": number,
            "variant": variant,
            "encoder_ms": 1.0,
            "kinds": kinds,
            "right": right,
        }

    rows = [
        scene(0, "uncompressed", [True, True]),
        scene(1, "uncompressed", [True, False]),
        scene(0, "ours 0.5", [False, True]),
        scene(1, "ours 0.5", [True, False]),
    ]
    summary = suite_summary(
        rows, qualities(rows, "scene", "right", {"uncompressed": 1.0, "ours 0.5": 0.5})
    )
    assert summary["uncompressed"]["overall"].mean == 0.75
    assert summary["ours 0.5"]["overall"].mean == 0.5
    assert summary["ours 0.5"]["read"] == proportion(1, 2)
    assert summary["ours 0.5"]["p"] == 1.0  # one question differs: says nothing


@settings(max_examples=10)
@given(st.permutations(ROWS))
def test_summaries_do_not_depend_on_the_order_of_rows(rows):
    found = qualities(rows, "image", "cosine", TIMES)
    summary = fidelity_summary(rows, found)
    assert summary["ours 0.8"]["cosine"].mean == pytest.approx(0.61)
    assert ranked_images(rows)["ours 0.8"][:2] == ["x", "y"]


def test_kinds_of_content_are_folders():
    rows = [r | {"image": f"{'a' if r['image'] == 'x' else 'b'}/{r['image']}"} for r in ROWS]
    summary = fidelity_summary(rows, qualities(rows, "image", "cosine", TIMES))
    assert summary["ours 0.8"]["a"].mean == pytest.approx(0.6)
    assert summary["ours 0.8"]["b"].mean == pytest.approx(0.615)
