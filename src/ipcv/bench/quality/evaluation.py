"""The two kinds of evaluation that `ipcv eval` knows, from the model to the tables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL.Image import Image
from torch import nn

from ipcv.bench.quality.estimates import qualities
from ipcv.bench.quality.fidelity import Observe, evaluate_images, find_images
from ipcv.bench.quality.identity import model_identity
from ipcv.bench.quality.kinds import image_kinds, question_kinds
from ipcv.bench.quality.observe import PROMPT, observer
from ipcv.bench.quality.records import Records, Row
from ipcv.bench.quality.relative_time import UNITS, relative_times
from ipcv.bench.quality.report import Report
from ipcv.bench.quality.suite import (
    LEAST_SIDE,
    PICTURE_SIDE,
    ask_variant,
    evaluate_scenes,
    held_out_scenes,
)
from ipcv.bench.quality.table import fidelity_summary, ranked_images, suite_summary
from ipcv.bench.scenes import Scene
from ipcv.bench.scenes.pictures import PICTURES
from ipcv.bench.variants import Variant
from ipcv.inputs.media import load_image

TURNS = 9
"""How often times are measured, on each of `UNITS` images or scenes."""

EXTREMES = 5
"""How many of the best and of the worst images are named."""


class Evaluation(ABC):
    """Something to evaluate variants of a model on."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """How often `run` calls `on_step`."""

    @abstractmethod
    def run(
        self,
        name: str,
        model: nn.Module,
        processor: Any,
        variants: Mapping[str, Variant],
        records: Path | None,
        on_step: Callable[[], None],
    ) -> Report:
        """Evaluate the variants.

        Args:
            name: of the model, for the records.
            model: in eval mode, not compressed.
            processor: its processor, or `None` for a vision encoder.
            variants: by name, "uncompressed" among them.
            records: a file for single results, from which an interrupted run goes on.
            on_step: called after each scene or image.
        """


@dataclass(frozen=True)
class Suite(Evaluation):
    """So many questions of the built-in suite, about these pictures.

    Attributes:
        questions: how many.
        pictures: names of `PICTURES`.
        side: of the pictures, in pixels; `None`: `PICTURE_SIDE`.
    """

    questions: int = 300
    pictures: tuple[str, ...] = tuple(PICTURES)
    side: int | None = None

    def __post_init__(self) -> None:
        if self.side is not None and self.side < LEAST_SIDE:
            raise ValueError(f"size must be at least {LEAST_SIDE} for pictures, got {self.side}")

    @cached_property
    def scenes(self) -> list[Scene]:
        """What is asked about."""
        side = self.side or PICTURE_SIDE
        return list(held_out_scenes(self.questions, (side, side), self.pictures))

    @property
    def steps(self) -> int:
        return len(self.scenes) + TURNS + 1

    def run(
        self,
        name: str,
        model: nn.Module,
        processor: Any,
        variants: Mapping[str, Variant],
        records: Path | None,
        on_step: Callable[[], None],
    ) -> Report:
        run = {"task": "suite", "model": name, "questions": self.questions}
        run["pictures"] = list(self.pictures)
        if self.side is not None:
            run["side"] = self.side
        kept = Records(records, run | (model_identity(model, processor) if records else {}))
        evaluate_scenes(model, processor, self.scenes, variants, kept, on_step)

        def encoder_ms(scene: Scene, variant: Variant) -> float:
            quick = replace(scene, questions=scene.questions[:1])
            return ask_variant(model, processor, quick, variant)[1]

        times = relative_times(self.scenes, variants, encoder_ms, on_step, TURNS)
        rows = _of(kept.rows, variants)
        found = qualities(rows, "scene", "right", times)
        label = f"right answers, of {self.questions:,} held-out questions"
        kinds = {
            kind: qualities(part, "scene", "right", times)
            for kind, part in question_kinds(rows).items()
        }
        summary, extra = suite_summary(rows, found), {"questions": self.questions}
        return Report(label, summary, found, kinds, extra=extra)


@dataclass(frozen=True)
class Fidelity(Evaluation):
    """How close a compressed model stays on a folder of images.

    Attributes:
        images: the folder.
        prompt, new_tokens: what a language model is asked about each, and how long it answers.
        side: of the crops that a vision encoder is shown, in pixels.
    """

    images: Path
    prompt: str = PROMPT
    new_tokens: int = 16
    side: int | None = None

    @property
    def steps(self) -> int:
        return len(find_images(self.images)) + TURNS + 1

    def run(
        self,
        name: str,
        model: nn.Module,
        processor: Any,
        variants: Mapping[str, Variant],
        records: Path | None,
        on_step: Callable[[], None],
    ) -> Report:
        run = {"task": "fidelity", "model": name, "images": str(self.images), "side": self.side}
        run |= {"prompt": self.prompt, "new_tokens": self.new_tokens}
        kept = Records(records, run | (model_identity(model, processor) if records else {}))
        observe = observer(model, processor, self.prompt, self.new_tokens, self.side)
        evaluate_images(self.images, variants, observe, kept, on_step)
        _require_some(self.images, kept.rows)
        return fidelity_report(self.images, kept.rows, variants, observe, on_step)


def _require_some(folder: Path, rows: Sequence[Row]) -> None:
    """Raise `ValueError` where no image could be shown, with what was wrong with the first."""
    errors = [row["error"] for row in rows if "error" in row]
    if len(errors) == len(rows):
        raise ValueError(f"none of the images of {folder} can be shown: {errors[0]}")


SCORES = {
    "cosine": "cosine of visual tokens to uncompressed",
    "agreement": "agreement with uncompressed on the next token, exp(-KL)",
}
"""What fidelity is measured by: what `compare` calls it, and people."""


def fidelity_report(
    folder: Path,
    rows: Sequence[Row],
    variants: Mapping[str, Variant],
    observe: Observe,
    on_step: Callable[[], None],
    score: str = "cosine",
) -> Report:
    """What the rows of `evaluate_images` say, and the variants' times, which it measures.

    Args:
        folder: of the images.
        rows: of these variants and images, or more variants.
        variants: by name, "uncompressed" among them.
        observe: shows an image to the model run as a variant.
        on_step: called `TURNS + 1` times.
        score: one of `SCORES`.
    """
    broken = {row["image"]: row["error"] for row in rows if "error" in row}
    seen = dict.fromkeys(row["image"] for row in rows if row["image"] not in broken)
    images = [load_image(folder / name) for name in list(seen)[:UNITS]]

    def encoder_ms(image: Image, variant: Variant) -> float:
        return observe(image, variant).encoder_ms

    times = relative_times(images, variants, encoder_ms, on_step, TURNS) if images else {}
    rows = _of(rows, variants)
    found = qualities(rows, "image", score, times)
    ranked = ranked_images(rows)
    worst = {variant: images[:EXTREMES] for variant, images in ranked.items()}
    best = {variant: images[-EXTREMES:][::-1] for variant, images in ranked.items()}
    notes = [f"worst of {variant}: {', '.join(images)}" for variant, images in worst.items()]
    notes += [f"skipped {image}: {error}" for image, error in broken.items()]
    if broken:
        notes.append(f"{len(broken)} of {len(seen) + len(broken)} images skipped")
    return Report(
        SCORES[score],
        fidelity_summary(rows, found),
        found,
        {kind: qualities(part, "image", score, times) for kind, part in image_kinds(rows).items()},
        notes,
        {"images": len(seen), "skipped": broken, "worst_images": worst, "best_images": best},
    )


def _of(rows: Sequence[Row], variants: Mapping[str, Variant]) -> list[Row]:
    """The rows of these variants, in their order."""
    order = list(variants)
    own = [row for row in rows if row.get("variant") in variants]
    return sorted(own, key=lambda row: order.index(row["variant"]))
