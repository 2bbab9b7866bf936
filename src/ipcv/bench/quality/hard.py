"""Hard questions: those that downsampling loses at the same encoder time (VTC-Bench)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ipcv.bench.quality.estimates import RIVALS
from ipcv.bench.quality.intervals import Estimate, proportion
from ipcv.bench.quality.records import Row
from ipcv.bench.variants import UNCOMPRESSED, method_of


class Split(NamedTuple):
    """A variant on the questions that the uncompressed model answers, in two parts.

    Attributes:
        rival: the downsampling that takes about as long.
        hard: right answers to those that the rival does not answer; `None` without any.
        hard_questions: how many these are.
        easy: right answers to those that the rival answers, too; `None` without any.
        easy_questions: how many these are.
    """

    rival: str
    hard: Estimate | None
    hard_questions: int
    easy: Estimate | None
    easy_questions: int


def split_questions(rows: Sequence[Row], times: Mapping[str, float]) -> dict[str, Split]:
    """Per variant but downsampling itself; empty where that is not measured.

    Args:
        rows: of the suite.
        times: of these variants, relative to uncompressed. The rival of a variant is the measured
            downsampling of the nearest time.
    """
    right: dict[str, dict[tuple[int, int], bool]] = {name: {} for name in times}
    for row in rows:
        for i, is_right in enumerate(row["right"]):
            right[row["variant"]][row["scene"], i] = is_right
    downsampled = [name for name in times if method_of(name) == RIVALS[0]]
    result = {}
    for name, own in right.items():
        if name == UNCOMPRESSED or name in downsampled or not downsampled:
            continue
        rival = min(downsampled, key=lambda other: abs(times[other] - times[name]))
        asked = own.keys() & right[rival].keys() & right[UNCOMPRESSED].keys()
        answered = {key for key in asked if right[UNCOMPRESSED][key]}
        easy = [own[key] for key in answered if right[rival][key]]
        hard = [own[key] for key in answered if not right[rival][key]]
        result[name] = Split(rival, _share(hard), len(hard), _share(easy), len(easy))
    return result


def _share(right: Sequence[bool]) -> Estimate | None:
    return proportion(sum(right), len(right)) if right else None
