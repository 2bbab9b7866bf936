"""V2Drop: keep what the last layer changed most, in several stages."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ipcv.core import ops
from ipcv.core.config import require_integer
from ipcv.language.layout import ImageRun
from ipcv.language.method import LanguageMethod, Prompt


@dataclass(frozen=True)
class V2Drop(LanguageMethod):
    """Variation-aware Vision Token Dropping (arXiv 2509.01552).

    Before each stage's layer `l`, image tokens are ranked by `||h_l - h_(l-1)||_2`: how much the
    layer before changed them. Those that hardly change are dropped.

    The default is the schedule in the authors' code for LLaVA-1.5 (32 layers): half of the tokens
    go on into layer 3, a quarter into layer 17, and none into layer 22 (their code leaves one).
    Their paper reports other models and budgets too, whose schedules we could not verify.

    Attributes:
        stages: `(layer, kept)` pairs, in ascending order of the 0-based layer: from this layer on,
            `int(tokens * kept)` of the prompt's tokens per image are left. The fraction `kept` is
            in [0, 1], never grows, and 0 drops every image token.

    Raises:
        ValueError: a stage is out of range or of the wrong type, or stages are out of order.
    """

    stages: tuple[tuple[int, float], ...] = ((3, 0.5), (17, 0.25), (22, 0.0))

    def __post_init__(self) -> None:
        stages = tuple(_stage(stage) for stage in _pairs(self.stages))
        if not stages:
            raise ValueError("stages must hold at least one (layer, kept) pair")
        object.__setattr__(self, "stages", stages)  # lists, as JSON has them, become tuples
        layers, kept = zip(*stages, strict=True)
        if list(layers) != sorted(set(layers)) or list(kept) != sorted(kept, reverse=True):
            raise ValueError(f"stages must have ascending layers and keep ever less, got {stages}")

    @property
    def prune_layers(self) -> tuple[int, ...]:
        """The layers of the stages."""
        return tuple(layer for layer, _ in self.stages)

    def keep_count(self, run: ImageRun, layer: int) -> int:
        """What the layer's stage leaves of the image."""
        return int(run.full_length * dict(self.stages)[layer])

    def scores(self, prompt: Prompt) -> Tensor:
        """The variation of each token."""
        before, after = prompt.of_images(prompt.previous), prompt.of_images(prompt.hidden_states)
        return ops.feature_difference(before, after)

    def scaled(self, depth: int) -> V2Drop:
        """Every stage's layer scaled; of stages that fall on one layer, the last counts."""
        stages = {self._scaled_layer(layer, depth): kept for layer, kept in self.stages}
        return dataclasses.replace(self, stages=tuple(stages.items()))


def _pairs(stages: Any) -> list[Any]:
    if not isinstance(stages, Iterable) or isinstance(stages, str):
        raise ValueError(f"stages must be (layer, kept) pairs, got {stages!r}")
    return list(stages)


def _stage(stage: Any) -> tuple[int, float]:
    if not isinstance(stage, list | tuple) or len(stage) != 2:
        raise ValueError(f"a stage must be a (layer, kept) pair, got {stage!r}")
    layer, kept = stage
    layer = require_integer("the layer of a stage", layer, minimum=1)
    if not isinstance(kept, int | float) or isinstance(kept, bool) or not 0 <= kept <= 1:
        raise ValueError(f"the fraction that a stage keeps must be in [0, 1], got {kept!r}")
    return layer, kept
