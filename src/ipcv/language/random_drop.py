"""Random dropping: the control that every method must beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ipcv.core import ops
from ipcv.language.method import LanguageMethod, Prompt


@dataclass(frozen=True)
class RandomDrop(LanguageMethod):
    """Keep random image tokens.

    The choice depends on the seed, on how many images came before in the prompt, and on nothing
    else: the same prompt gives the same answer, alone or in a batch.

    Attributes:
        prune_layer: 0-based index of the first layer that runs without the dropped tokens; 0 drops
            them at the encoder's output.
        reduction_ratio: fraction of the tokens of each image that is dropped, in [0, 1). Each image
            keeps `max(1, int(tokens * (1 - reduction_ratio)))`.
        seed: of the random numbers.

    Raises:
        ValueError: a setting is out of range or of the wrong type.
    """

    prune_layer: int = 2
    reduction_ratio: float = 0.5
    seed: int = 0

    first_layer = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_integer("seed", minimum=0)

    def scores(self, prompt: Prompt) -> Tensor:
        """Uniform noise."""
        noise = [self._noise(run.length, run.ordinal) for run in prompt.layout.runs]
        return ops.upload(torch.cat(noise), prompt.hidden_states.device)

    def _noise(self, length: int, ordinal: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + ordinal)
        return torch.rand(length, generator=generator)
