"""Trust in a number: 95 % intervals and paired tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 2000


class Estimate(NamedTuple):
    """A mean and its 95 % confidence interval, which is NaN where a single unit tells none."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        half = (self.high - self.low) / 2
        return f"{self.mean:.3f}" + ("" if math.isnan(half) else f" ±{half:.3f}")


def proportion(right: int, asked: int) -> Estimate:
    """A share of independent yes-or-no results, with Wilson's interval."""
    from scipy.stats import binomtest

    interval = binomtest(right, asked).proportion_ci(method="wilson")
    return Estimate(right / asked, float(interval.low), float(interval.high))


def mean(values: Sequence[float], weights: Sequence[float] | None = None) -> Estimate:
    """The weighted mean over units (images, scenes), with a percentile bootstrap over them."""
    from scipy.stats import bootstrap

    data = np.asarray(values, dtype=float)
    weight = np.ones_like(data) if weights is None else np.asarray(weights, dtype=float)
    point = float((data * weight).sum() / weight.sum())
    if len(data) < 2:
        return Estimate(point, math.nan, math.nan)
    result = bootstrap(
        (data * weight, weight),
        lambda x, w, axis: x.sum(axis) / w.sum(axis),
        paired=True,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    low, high = result.confidence_interval
    return Estimate(point, float(low), float(high))


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> float:
    """The p-value of two methods being equally often right, on the same questions (exact test)."""
    from scipy.stats import binomtest

    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    if not only_first + only_second:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)
