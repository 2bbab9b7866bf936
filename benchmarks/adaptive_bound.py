"""The gain of an adaptive ratio: per image the best of the measured ones, at equal mean time.

ipcv eval … --records dinov2.jsonl --json dinov2.json
python benchmarks/adaptive_bound.py dinov2.jsonl dinov2.json adaptive

The choice knows each image's result, which no method does: a bound, not a method.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from ipcv.bench.variants import UNCOMPRESSED, method_of

BUDGETS = (0.8, 0.7, 0.6, 0.5, 0.4)
STEPS = 60


def best_mean(scores: np.ndarray, times: np.ndarray, budget: float) -> float:
    """The highest mean of `scores (images, settings)` under a budget for the mean of `times`.

    By bisection of the price of time, at which every image chooses for itself.
    """
    low, high = 0.0, 100.0
    for _ in range(STEPS):
        price = (low + high) / 2
        chosen = (scores - price * times).argmax(1)
        low, high = (price, high) if times[chosen].mean() > budget else (low, price)
    chosen = (scores - high * times).argmax(1)
    return float(scores[np.arange(len(scores)), chosen].mean())


def main() -> None:
    """Print, per budget, what one ratio for all images keeps, and the bound."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("records", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("method")
    options = parser.parse_args()
    variants = json.loads(options.results.read_text())["variants"]
    names = [n for n in variants if n == UNCOMPRESSED or method_of(n) == options.method]
    names.sort(key=lambda name: variants[name]["time"])
    times = np.array([variants[name]["time"] for name in names])
    table: dict[str, dict[str, float]] = {}
    for row in map(json.loads, options.records.read_text().splitlines()):
        if "variant" in row:
            table.setdefault(row["image"], {})[row["variant"]] = row["cosine"]
    scores = np.array([[own[name] for name in names] for own in table.values()])
    for budget in (b for b in BUDGETS if b >= times.min()):
        fixed = np.interp(budget, times, scores.mean(0))
        bound = best_mean(scores, times, budget)
        print(f"time {budget:.1f}: one ratio {fixed:.3f}, adaptive at most {bound:.3f}")


if __name__ == "__main__":
    main()
