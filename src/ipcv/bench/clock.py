"""One clock for all timings."""

from __future__ import annotations

from time import perf_counter

import torch


def milliseconds() -> float:
    """The time now, after the accelerator has finished what it was given."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return 1e3 * perf_counter()
