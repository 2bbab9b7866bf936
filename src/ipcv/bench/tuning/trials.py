"""Scores of settings on images, measured once and kept."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ipcv.bench.quality.fidelity import Observe, evaluate_images
from ipcv.bench.quality.records import Records, Row
from ipcv.bench.tuning.replay import Replay
from ipcv.bench.variants import UNCOMPRESSED, Variant
from ipcv.vision.method import VisionMethod


@dataclass(frozen=True)
class Trials:
    """Shows images to a model under any settings.

    Attributes:
        replay: says what settings cost.
        folder: of the images.
        observers: show an image to the model; images take turns with them.
        records: where the results are.
        score: what of them counts, one of `ipcv.bench.quality.evaluation.SCORES`.
        on_step: called after each image.
    """

    replay: Replay
    folder: Path
    observers: Sequence[Observe]
    records: Records
    score: str
    on_step: Callable[[], None]

    def scores(
        self, methods: Mapping[str, VisionMethod], images: Sequence[Path]
    ) -> dict[str, float]:
        """The mean score by name; 0 for all where none of the images can be shown."""
        variants = {name: Variant(method) for name, method in methods.items()}
        results: dict[str, list[float]] = {name: [] for name in methods}
        for row in self.rows({UNCOMPRESSED: Variant()} | variants, images):
            if row.get("variant") in results and row[self.score] is not None:
                results[row["variant"]].append(row[self.score])
        return {name: statistics.mean(values or [0.0]) for name, values in results.items()}

    def rows(self, variants: Mapping[str, Variant], images: Sequence[Path]) -> list[Row]:
        """All results on these images; those of the variants are measured where they lack."""
        turns = len(self.observers)
        for i, observe in enumerate(self.observers):
            own = images[i::turns]
            evaluate_images(self.folder, variants, observe, self.records, self.on_step, own)
        names = {path.relative_to(self.folder).as_posix() for path in images}
        return [row for row in self.records.rows if row.get("image") in names]
