"""The best method for each kind of content, at one encoder time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ipcv.bench.quality.estimates import Quality, interpolated
from ipcv.bench.quality.intervals import Estimate, mean
from ipcv.bench.variants import UNCOMPRESSED, method_of


class Best(NamedTuple):
    """The method of the highest quality, and how sure that is.

    Attributes:
        method: its name.
        qualities: of all methods that are measured at that time.
        rival: of the others the one that it is least surely better than.
        gain: its quality minus the rival's, paired; `None` without a rival.
    """

    method: str
    qualities: dict[str, Estimate]
    rival: str | None = None
    gain: Estimate | None = None

    @property
    def quality(self) -> Estimate:
        """Its own quality."""
        return self.qualities[self.method]

    @property
    def decided(self) -> bool:
        """Whether it is better than each of the others: all intervals are above zero."""
        return self.gain is not None and self.gain.low > 0


def best_at(kinds: Mapping[str, Mapping[str, Quality]], time: float) -> dict[str, Best]:
    """Per kind the best method; kinds that no method is measured for at that time are left out.

    Args:
        kinds: per kind the quality of each variant.
        time: encoder time relative to uncompressed.
    """
    found = {kind: _best(variants, time) for kind, variants in kinds.items()}
    return {kind: best for kind, best in found.items() if best is not None}


def _best(found: Mapping[str, Quality], time: float) -> Best | None:
    methods = dict.fromkeys(method_of(name) for name in found if name != UNCOMPRESSED)
    scores = {method: interpolated(found, method, time) for method in methods}
    measured = {method: score for method, score in scores.items() if score is not None}
    if not measured:
        return None
    weights = found[UNCOMPRESSED].weights.tolist()
    qualities = {method: mean(own.tolist(), weights) for method, own in measured.items()}
    first = max(qualities, key=lambda method: qualities[method].mean)
    gains = {
        method: mean((measured[first] - own).tolist(), weights)
        for method, own in measured.items()
        if method != first
    }
    if not gains:
        return Best(first, qualities)
    rival = min(gains, key=lambda method: gains[method].low)
    return Best(first, qualities, rival, gains[rival])
