"""Encoder time of variants relative to the uncompressed encoder, apart from what they keep.

Quality does not depend on the machine, and may be measured in pieces, or beside other work. Time is
measured behind it, in one go, all variants in turns.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from ipcv.bench.variants import UNCOMPRESSED, Variant

Unit = TypeVar("Unit")
UNITS = 3


def relative_times(
    units: Sequence[Unit],
    variants: Mapping[str, Variant],
    encoder_ms: Callable[[Unit, Variant], float],
    on_step: Callable[[], None] = lambda: None,
    repetitions: int = 3,
) -> dict[str, float]:
    """The median ratio of each variant's encoder time to the uncompressed encoder's.

    Args:
        units: images or scenes; the first `UNITS` are used.
        variants: by name, "uncompressed" among them.
        encoder_ms: runs a variant on a unit, and says how long the vision encoder took.
        on_step: called `repetitions + 1` times.
        repetitions: turns that count, after one that does not.
    """
    ratios: dict[str, list[float]] = {name: [] for name in variants}
    for repetition in range(repetitions + 1):
        for unit in units[:UNITS]:
            times = {name: encoder_ms(unit, variant) for name, variant in variants.items()}
            if repetition:
                for name, time in times.items():
                    ratios[name].append(time / times[UNCOMPRESSED])
        on_step()
    return {name: statistics.median(values) for name, values in ratios.items()}
