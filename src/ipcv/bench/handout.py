"""A handout: what an evaluation found, as one page for somebody who was not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

from torch import nn

from ipcv.bench import html
from ipcv.bench.environment import environment
from ipcv.bench.inspection import draw, inspect_image
from ipcv.bench.plots import data_uri
from ipcv.bench.quality.estimates import compare_at
from ipcv.bench.quality.fidelity import Observe
from ipcv.bench.quality.intervals import Estimate
from ipcv.bench.quality.observe import crop
from ipcv.bench.quality.plot import draw_quality
from ipcv.bench.quality.report import Report
from ipcv.bench.quality.table import TIMES
from ipcv.bench.variants import UNCOMPRESSED, Variant, method_of
from ipcv.core.output import to_json
from ipcv.inputs.media import load_image
from ipcv.settings.methods import named
from ipcv.vision.pruning import PruningMethod

EXAMPLES = 2
"""How many of the best and of the worst pictures are shown."""

SHOWN_RATIO = 0.5
"""Pictures are shown as the settings of each method leave them whose ratio is nearest to this."""


@dataclass(frozen=True)
class Handout:
    """What goes into it.

    Attributes:
        name: of the model.
        model: in eval mode, not compressed.
        has_processor: whether its images go through a processor, or are crops of `side` pixels.
        folder: of the images.
        observe: shows an image to the model.
        variants: by name.
        report: what was found with these.
        side: see `has_processor`.
    """

    name: str
    model: nn.Module
    has_processor: bool
    folder: Path
    observe: Observe
    variants: Mapping[str, Variant]
    report: Report
    side: int | None = None

    def to_html(self) -> str:
        """The page."""
        count, called = self.report.extra["images"], self.name
        if Path(self.name).is_dir():
            called = Path(self.name).resolve().name  # where it lies is nobody's business
        machine = {name: [escape(str(v))] for name, v in environment(self.model).items()}
        parts = [
            html.text(
                f"{called}, uncompressed and compressed, on {count:,} images. "
                "Further left is faster, further up is closer to the uncompressed model."
            ),
            html.figure(
                data_uri(draw_quality(self.report.points, self.report.label), "svg"),
                f"{self.report.label}, against measured encoder time",
            ),
            html.heading("At equal encoder time"),
            self._at_equal_time(),
            html.heading("All settings"),
            self._all_settings(),
            html.heading("Best and worst pictures"),
            *self._pictures(),
            html.heading("Where this was measured"),
            html.table("Machine and versions.", [""], machine),
        ]
        return html.page(f"ipcv on {called}", parts)

    def _at_equal_time(self) -> str:
        compared = compare_at(self.report.found, TIMES)
        return html.table(
            f"{self.report.label}; columns are encoder time relative to uncompressed; "
            "± half a 95 % interval; - not measured",
            [f"{time:g}" for time in compared.times],
            {name: [_cell(cell) for cell in row] for name, row in compared.quality.items()},
        )

    def _all_settings(self) -> str:
        rows = {}
        for name, (time, quality) in self.report.points.items():
            rows[name] = [f"{time:.2f}", f"{1 / time:.2f}x", _cell(quality), self._settings(name)]
        return html.table(
            "measured; use a file by ipcv run --settings, or ipcv.load in Python",
            ["encoder time", "speed-up", "score", "settings"],
            rows,
        )

    def _settings(self, name: str) -> str:
        """A link to the settings of a variant, as `ipcv.load` reads them."""
        variant = self.variants[name]
        if variant.vision is None:
            return "-"
        sides = {"vision": named(variant.vision), "language": named(variant.language)}
        return html.download(f"{name.replace(' ', '-')}.json", to_json(sides, indent=2))

    def _pictures(self) -> list[str]:
        shown = _shown(self.variants)
        if not shown:
            return [html.text("None of these methods keeps patches as they are.")]
        first, extra = next(iter(shown)), self.report.extra
        worst = extra["worst_images"][first][:EXAMPLES]
        best = [image for image in extra["best_images"][first][:EXAMPLES] if image not in worst]
        parts = [html.text(f"By {first}.")]
        for title, images in (("Best", best), ("Worst", worst)):
            parts += [self._picture(f"{title}: {image}", image, shown) for image in images]
        return parts

    def _picture(self, title: str, image: str, shown: Mapping[str, PruningMethod]) -> str:
        picture = load_image(self.folder / image)
        try:
            found = inspect_image(self.model, self.observe, picture, shown)
        except ValueError as error:
            return html.text(f"{title}: {error}")
        seen = picture if self.has_processor else crop(self.model, picture, self.side)
        address = data_uri(draw(seen, found, None), "png")
        return html.figure(address, f"{title}; above what is kept, below the errors left")


def _shown(variants: Mapping[str, Variant]) -> dict[str, PruningMethod]:
    """Per method that keeps patches as they are, the variant nearest to `SHOWN_RATIO`."""
    nearest: dict[str, tuple[str, PruningMethod]] = {}
    for name, variant in variants.items():
        vision, method = variant.vision, method_of(name)
        if isinstance(vision, PruningMethod) and name != UNCOMPRESSED:
            before = nearest.get(method)
            if before is None or _distance(vision) < _distance(before[1]):
                nearest[method] = name, vision
    return dict(nearest.values())


def _distance(method: PruningMethod) -> float:
    ratio: float = getattr(method, "reduction_ratio", SHOWN_RATIO)
    return abs(ratio - SHOWN_RATIO)


def _cell(value: Estimate | None) -> str:
    return "-" if value is None else escape(str(value))
