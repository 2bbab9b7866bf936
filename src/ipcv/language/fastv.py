"""FastV: keep what the last prompt token attends to."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ipcv.language.method import LanguageMethod, Prompt


@dataclass(frozen=True)
class FastV(LanguageMethod):
    """FastV (arXiv 2403.06764): rank image tokens by attention.

    The attention is that of the last prompt token in layer `prune_layer - 1`, mean over heads.

    Attributes:
        prune_layer: 0-based index of the first layer that runs without the dropped tokens.
        reduction_ratio: fraction of the tokens of each image that is dropped, in [0, 1). Each image
            keeps `max(1, int(tokens * (1 - reduction_ratio)))`.

    Raises:
        ValueError: a setting is out of range or of the wrong type.
    """

    prune_layer: int = 2
    reduction_ratio: float = 0.5

    needs_keys = True

    def scores(self, prompt: Prompt) -> Tensor:
        """The attention to each token."""
        return prompt.of_images(prompt.attention())
