"""The outcome of tuning, for people, for the file of settings and for a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from ipcv.bench.quality.estimates import at_equal_time
from ipcv.bench.quality.intervals import Estimate
from ipcv.bench.quality.report import Report
from ipcv.bench.quality.table import STYLE
from ipcv.bench.variants import TUNED_NAME, UNCOMPRESSED, method_of
from ipcv.settings.presets import Preset


@dataclass(frozen=True)
class Outcome:
    """The settings, and how good they are on images that had no part in the search.

    Attributes:
        settings: for both sides.
        variant: their name in the report.
        report: on the images held out, of these settings and their rivals.
        evidence: what else the file of settings is to say, as JSON types.
    """

    settings: Preset
    variant: str
    report: Report
    evidence: dict[str, Any]

    @property
    def time(self) -> float:
        """Measured encoder time, relative to uncompressed."""
        return self.report.found[self.variant].time

    def rivals(self) -> dict[str, tuple[Estimate, Estimate] | None]:
        """Per other method its score at that time, and by how much ours is above it.

        `None` for one that does not get so fast.
        """
        found, result = self.report.found, dict[str, tuple[Estimate, Estimate] | None]()
        for rival in dict.fromkeys(map(method_of, found)):
            if rival not in (TUNED_NAME, UNCOMPRESSED):
                at_time = at_equal_time(found, [self.time], rival)
                theirs, ours = at_time[rival][0], at_time[TUNED_NAME][0]
                gain = ours and ours[1]
                result[rival] = (theirs[0], gain) if theirs and gain else None
        return result

    def to_dict(self) -> dict[str, Any]:
        """The evidence, as JSON types; an estimate is a list of mean, low and high."""
        return {
            **self.evidence,
            "encoder_time": self.time,
            "encoder_speedup": 1 / self.time,
            "score": self.report.found[self.variant].estimate,
            "rivals": {
                name: pair and {"score": pair[0], "gain": pair[1]}
                for name, pair in self.rivals().items()
            },
            "held_out": self.report.to_dict(),
        }

    def tables(self) -> list[RenderableType]:
        """For people: the settings, and a table with one row per method, at equal encoder time."""
        images = len(self.report.found[self.variant].scores)
        table = Table(caption="± half a 95 % interval; - not as fast", **STYLE)
        table.add_column("", no_wrap=True)
        for column in ("score", "gain of tuned"):
            table.add_column(column, justify="right")
        table.add_row(TUNED_NAME, str(self.report.found[self.variant].estimate), "")
        for name, pair in self.rivals().items():
            table.add_row(name, *(map(str, pair) if pair else ("-", "-")))
        extra = self.report.extra
        return [
            str(self.settings.vision),
            f"{1 / self.time:.2f} times as fast an encoder; {self.report.label},",
            f"on {images:,} images that had no part in the search:",
            table,
            f"worst of these: {', '.join(extra['worst_images'][self.variant])}",
            *(f"skipped {image}: {error}" for image, error in extra["skipped"].items()),
        ]
