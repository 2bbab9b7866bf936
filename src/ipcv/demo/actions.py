"""The model behind the page: asked both ways, with pictures of what was kept and of the errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from PIL import Image, ImageOps

from ipcv.bench.cost.measure import Job, measure
from ipcv.bench.generation import generate
from ipcv.bench.quality.answers import Answer, answer
from ipcv.bench.quality.fidelity import patch_errors
from ipcv.bench.quality.observe import observed
from ipcv.bench.run_report import RunReport
from ipcv.bench.variants import UNCOMPRESSED, Variant
from ipcv.families import adapter_for
from ipcv.inputs.decoding import scaled_down
from ipcv.inputs.media import is_video, load_image
from ipcv.inputs.overlay import draw_overlay, grids_of, sheet, shown
from ipcv.inputs.prompt import Media, build_inputs, read_video
from ipcv.settings.typed import Given
from ipcv.vision.method import VisionMethod

COMPRESSED = "compressed"
DEMO_PIXELS = 1 << 20
"""Larger pictures, and all frames of a clip together, are scaled down to that, so that nobody waits
for another's poster."""

CLIP_PIXELS = 5_000_000_000
"""Of all frames of a clip together, as uploaded: half a minute of decoding. More are refused."""

NEW_TOKENS = 48
TIMED_RUNS = 3
COLD, MIDDLE, HOT = "#00224e", "#7d7c78", "#fee838"
"""Of the error map: dark blue, grey, yellow, which the colour-blind can tell apart."""


@dataclass(frozen=True)
class BothWays:
    """A picture or clip and a question, asked with and without compression.

    Attributes:
        report: answers, patches, times, FLOPs.
        overlay: the picture, or the frames, with removed patches dimmed; `None` where that cannot
            be told.
        errors: the error of each visual token, from dark to bright; `None` without a grid.
        highest_error: the brightest, relative to the mean norm of a token.
    """

    report: RunReport
    overlay: Image.Image | None
    errors: Image.Image | None
    highest_error: float


@dataclass(frozen=True)
class Desk:
    """A model that answers one at a time, whoever asks.

    Attributes:
        name: of the model.
        model: in eval mode, not compressed.
        processor: its processor.
    """

    name: str
    model: Any
    processor: Any
    lock: Lock = field(default_factory=Lock, repr=False)

    @property
    def depth(self) -> int:
        """Blocks of the vision encoder."""
        return len(adapter_for(self.model).blocks)

    def default(self, method: str | None = None) -> VisionMethod:
        """The preset, or that method at the preset's settings where it has some."""
        return Given(method).for_model(self.model).vision

    def prompt(self, file: Path, question: str) -> tuple[Media, Any]:
        """The picture or clip as it is shown, and the model's inputs.

        Raises:
            ValueError: no question, or a file that cannot be read, or that the model refuses.
        """
        if not question.strip():
            raise ValueError("the question is empty")
        try:
            media = _read(file)
        except ValueError as error:  # which names a file that the user never saw
            raise ValueError(str(error).replace(str(file), file.name)) from None
        pixels = DEMO_PIXELS // len(media.frames)
        media = Media(tuple(scaled_down(one, pixels) for one in media.frames), media.metadata)
        return media, build_inputs(self.model, self.processor, [media], question, NEW_TOKENS)

    def compare(self, file: Path, question: str, method: VisionMethod) -> BothWays:
        """Ask with and without compression.

        Raises:
            ValueError: what `prompt` raises, or a setting that the model cannot take.
        """
        media, prompt = self.prompt(file, question)
        variants = {UNCOMPRESSED: Variant(), COMPRESSED: Variant(method)}
        call = partial(generate, self.model, prompt, NEW_TOKENS)
        with self.lock:
            runs = {name: self.ask(prompt, variant) for name, variant in variants.items()}
            jobs = {name: Job(variant, call) for name, variant in variants.items()}
            costs = measure(self.model, jobs, TIMED_RUNS)
        report = RunReport(self.name, question, variants[COMPRESSED], runs, costs)
        errors, highest = error_map(shown([media], prompt), self._errors(prompt, runs))
        return BothWays(report, _overlay(media, prompt, runs[COMPRESSED]), errors, highest)

    def ask(self, prompt: Any, variant: Variant) -> Answer:
        """The answer of one variant; whoever asks holds the lock."""
        return answer(self.model, self.processor, prompt, variant, NEW_TOKENS)

    def _errors(self, prompt: Any, runs: dict[str, Answer]) -> list[torch.Tensor]:
        """`(rows, columns)` of the visual tokens of each frame, relative to their mean norm."""
        grids = grids_of(prompt)
        if not grids:
            return []
        before, after = (
            observed(self.model, prompt, runs[name]) for name in (UNCOMPRESSED, COMPRESSED)
        )
        merge = self.model.config.vision_config.spatial_merge_size
        sizes = [(t, h // merge, w // merge) for t, h, w in grids]
        errors = patch_errors(after, before).split([math.prod(size) for size in sizes])
        return [
            frame for item, size in zip(errors, sizes, strict=True) for frame in item.view(size)
        ]


def error_map(
    frames: Sequence[Image.Image], errors: Sequence[torch.Tensor]
) -> tuple[Image.Image | None, float]:
    """Errors `(rows, columns)` of each frame as a sheet of images of its size, and the highest."""
    if not errors:
        return None, 0.0
    highest = max(float(error.max()) for error in errors)
    levels = [(error / (highest or 1.0) * 255).byte().numpy() for error in errors]
    coloured = [ImageOps.colorize(Image.fromarray(one), COLD, HOT, MIDDLE) for one in levels]
    nearest = Image.Resampling.NEAREST
    panels = zip(coloured, frames, strict=True)
    return sheet([one.resize(frame.size, nearest) for one, frame in panels]), highest


def _read(file: Path) -> Media:
    if is_video(file):
        return read_video(file, most_pixels=CLIP_PIXELS)
    return Media((load_image(file),))


def _overlay(media: Media, prompt: Any, run: Answer) -> Image.Image | None:
    try:
        return draw_overlay([media], prompt, run.calls)
    except (ValueError, RuntimeError):  # no grid is known, or every block goes on with others
        return None
