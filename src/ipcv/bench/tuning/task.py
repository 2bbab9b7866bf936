"""Tuning, from a model and a folder of images to settings, and why these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

from torch import nn

from ipcv.bench.environment import environment
from ipcv.bench.quality.evaluation import TURNS, fidelity_report
from ipcv.bench.quality.identity import model_identity
from ipcv.bench.quality.observe import PROMPT, observer
from ipcv.bench.quality.records import Records, Row
from ipcv.bench.tuning.candidates import (
    PUBLISHED,
    Candidate,
    Space,
    named_candidates,
    possible_outcomes,
)
from ipcv.bench.tuning.goals import Goal
from ipcv.bench.tuning.halving import FIRST, rungs
from ipcv.bench.tuning.outcome import Outcome
from ipcv.bench.tuning.replay import Replay
from ipcv.bench.tuning.search import search
from ipcv.bench.tuning.split import ImageSplit, split_images
from ipcv.bench.tuning.trials import Trials
from ipcv.bench.variants import RATIOS, TUNED_NAME, Variant, make_variants
from ipcv.settings.presets import Preset

COMPARED = (PUBLISHED, "tome", "tome-decreasing")
"""Methods inside the encoder, and `DOWNSAMPLE`, that the settings are compared to."""

DOWNSAMPLE = "downsample"

REPORTED = (*RATIOS, 0.9)
"""Fractions of patches removed at which methods are measured for that."""


@dataclass(frozen=True)
class Tuning:
    """What to search for, and on what.

    Attributes:
        images: the folder, which `split_images` splits.
        goal: what is best.
        prompts: what a language model is asked, one prompt an image in turns; then its next token
            is what counts. Without any, the visual tokens are.
        count: settings to try, besides the methods that have a name.
        side: of the crops that a vision encoder is shown, in pixels.
        seed: of the search.

    Raises:
        ValueError: no images, or too few.
    """

    images: Path
    goal: Goal
    prompts: Sequence[str] = ()
    count: int = 64
    side: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        assert self.split  # raises before a model is loaded

    @cached_property
    def split(self) -> ImageSplit:
        """The images to search on, and those to judge by."""
        return split_images(self.images)

    @property
    def steps(self) -> int:
        """How often `run` calls `on_step`, about."""
        searching = FIRST + sum(rungs(len(self.split.calibration))) + len(self.split.calibration)
        return searching + len(self.split.held_out) + TURNS + 1

    def run(
        self,
        name: str,
        model: nn.Module,
        processor: Any,
        records: Path | None = None,
        on_step: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Search on one part of the images, and judge by the other.

        Args:
            name: of the model, for the records.
            model: in eval mode, not compressed.
            processor: its processor, or `None` for a vision encoder.
            records: a file for single results, from which an interrupted run goes on.
            on_step: called after each image.

        Raises:
            ValueError: prompts for a model without a language model, no image that can be shown to
                it, or nothing that reaches the goal.
        """
        if self.prompts and processor is None:
            raise ValueError(f"a {type(model).__name__} has no language model to ask the prompts")
        trials = self._trials(name, model, processor, records, on_step)
        candidate, ratio = search(
            self.goal,
            possible_outcomes(model),
            Space.of(model),
            self.split.calibration,
            trials,
            self.count,
            Random(self.seed),
        )
        rows, variants = self._judge(model, candidate, ratio, trials)
        observe = trials.observers[0]
        report = fidelity_report(self.images, rows, variants, observe, on_step, trials.score)
        if not report.found:
            raise ValueError(f"none of the images held out of {self.images} can be shown")
        evidence = {
            "calibration_images": len(self.split.calibration),
            "count": self.count,
            "seed": self.seed,
            "environment": environment(model),
        }
        settings = Preset(candidate.at(ratio))
        return Outcome(settings, f"{TUNED_NAME} {ratio:g}", report, self._run(name) | evidence)

    def _run(self, name: str) -> dict[str, Any]:
        """What makes results comparable."""
        return {
            "task": "tune",
            "model": name,
            "images": str(self.images),
            "side": self.side,
            "prompts": list(self.prompts),
            "goal": str(self.goal),
        }

    def _trials(
        self,
        name: str,
        model: nn.Module,
        processor: Any,
        records: Path | None,
        on_step: Callable[[], None],
    ) -> Trials:
        identity = model_identity(model, processor) if records else {}
        kept = Records(records, self._run(name) | identity)
        observers = [
            observer(model, processor, prompt, new_tokens=1, side=self.side)
            for prompt in self.prompts or [PROMPT]
        ]
        score = "agreement" if self.prompts else "cosine"
        replay = Replay(model, observers[0], self.split.calibration)
        return Trials(replay, self.images, observers, kept, score, on_step)

    def _judge(
        self, model: nn.Module, candidate: Candidate, ratio: float, trials: Trials
    ) -> tuple[list[Row], dict[str, Variant]]:
        """Rows of the settings, also at other fractions, and of their rivals; and these by name."""
        named = {c.name for c in named_candidates(model)}
        rivals = [DOWNSAMPLE, *(rival for rival in COMPARED if rival in named)]
        rival_variants = make_variants(model, rivals, REPORTED)
        # Kept by the candidate's own name: to other searches the word "tuned" means something else.
        ratios = {f"{candidate.name} {r:g}": r for r in sorted({ratio, *REPORTED})}
        own = {name: Variant(candidate.at(r)) for name, r in ratios.items()}
        rows = trials.rows(rival_variants | own, self.split.held_out)
        rows += [
            row | {"variant": f"{TUNED_NAME} {ratios[row['variant']]:g}"}
            for row in rows
            if row.get("variant") in ratios
        ]
        tuned = {f"{TUNED_NAME} {ratios[name]:g}": variant for name, variant in own.items()}
        return rows, rival_variants | tuned
