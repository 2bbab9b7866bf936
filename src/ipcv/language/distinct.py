"""Distinct tokens: those at the encoder's output that are least like the others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ipcv.language.encoder_output import EncoderOutputMethod
from ipcv.language.method import Prompt
from ipcv.vision.matching import match


@dataclass(frozen=True)
class Distinct(EncoderOutputMethod):
    """Drop visual tokens that have a twin among those that stay, at the encoder's output.

    In rounds, none of which drops more than half: every other token of an image finds the most
    similar one of the rest, by cosine (the bipartite matching of Token Merging, arXiv 2210.09461),
    and those go whose counterpart is most like them. Nothing is merged, and nothing but the tokens
    is looked at: it works behind any encoder, compressed or not, and in vLLM.

    Attributes:
        reduction_ratio: fraction of the tokens of each image or video that is dropped, in [0, 1).
            Each keeps `max(1, int(tokens * (1 - reduction_ratio)))`.

    Raises:
        ValueError: the setting is out of range or of the wrong type.
    """

    reduction_ratio: float = 0.65

    def __post_init__(self) -> None:
        self._check()

    def scores(self, prompt: Prompt) -> Tensor:
        """1 for the tokens to keep, 0 for the others."""
        scores = []
        images = prompt.of_images(prompt.hidden_states).split(prompt.lengths)
        for tokens, run in zip(images, prompt.layout.runs, strict=True):
            kept = distinct(tokens, self.keep_count(run, prompt.layer))
            scores.append(tokens.new_zeros(len(tokens)).index_fill(0, kept, 1))
        return torch.cat(scores)


def distinct(tokens: Tensor, count: int) -> Tensor:
    """Which `count` of an image's tokens `(N, C)` stay: `(count,)` int64, ascending."""
    kept = torch.arange(len(tokens), device=tokens.device)
    while len(kept) > count:
        stay, _ = match(tokens[kept][None], min(len(kept) - count, len(kept) // 2))
        kept = kept[stay[0]]
    return kept
