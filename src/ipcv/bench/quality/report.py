"""The report of an evaluation, for people and as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rich.console import RenderableType

from ipcv.bench.quality.best import best_at
from ipcv.bench.quality.estimates import Quality, compare_at
from ipcv.bench.quality.intervals import Estimate
from ipcv.bench.quality.table import TIMES, best_table, equal_time_tables, summary_tables


@dataclass(frozen=True)
class Report:
    """What an evaluation found.

    Attributes:
        label: what the quality is.
        summary: per variant its numbers.
        found: per variant its quality, unit by unit.
        kinds: the same per kind of content.
        notes: what else is to be said.
        extra: what else goes into JSON.
    """

    label: str
    summary: dict[str, dict[str, Any]]
    found: dict[str, Quality]
    kinds: dict[str, dict[str, Quality]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def points(self) -> dict[str, tuple[float, Estimate]]:
        """Per variant its encoder time, relative to uncompressed, and its quality."""
        return {name: (q.time, q.estimate) for name, q in self.found.items()}

    def tables(self, time: float = 0.5) -> list[RenderableType]:
        """For people; the best method of each kind is named at that encoder time."""
        if not self.found:
            return self.notes  # type: ignore[return-value]
        return [
            *summary_tables(self.label, self.summary),
            *equal_time_tables(self.found),
            best_table(self._named(), time),
            *self.notes,
        ]

    def to_dict(self, time: float = 0.5) -> dict[str, Any]:
        """JSON types; an estimate is a list of mean, low and high."""
        best = best_at(self._named(), time)
        return {
            "label": self.label,
            "variants": self.summary,
            "at_equal_time": compare_at(self.found, TIMES)._asdict(),
            "best": {
                "time": time,
                "kinds": {
                    kind: {**found._asdict(), "decided": found.decided}
                    for kind, found in best.items()
                },
            },
            **self.extra,
        }

    def _named(self) -> dict[str, dict[str, Quality]]:
        return {"all": self.found, **self.kinds}
