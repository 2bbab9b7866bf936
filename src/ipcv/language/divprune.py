"""DivPrune: keep the visual tokens that are farthest from each other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ipcv.language.encoder_output import EncoderOutputMethod
from ipcv.language.method import Prompt


@dataclass(frozen=True)
class DivPrune(EncoderOutputMethod):
    """Diversity at the encoder's output (arXiv 2503.02175).

    One by one, that token of an image is kept whose nearest kept one is farthest, by cosine.
    Nothing but the tokens is looked at: any encoder will do, compressed or not.

    What differs: the paper begins with the token whose nearest neighbour is farthest, this code
    with the one that is least like the mean of all, for which no tokens are compared in pairs.

    Attributes:
        reduction_ratio: fraction of the tokens of each image that is dropped, in [0, 1). Each image
            keeps `max(1, int(tokens * (1 - reduction_ratio)))`.

    Raises:
        ValueError: the setting is out of range or of the wrong type.
    """

    reduction_ratio: float = 0.65

    def scores(self, prompt: Prompt) -> Tensor:
        """1 for the tokens to keep, 0 for the others."""
        scores = []
        images = prompt.of_images(prompt.hidden_states).split(prompt.lengths)
        for tokens, run in zip(images, prompt.layout.runs, strict=True):
            kept = farthest(tokens, self.keep_count(run, prompt.layer))
            scores.append(tokens.new_zeros(len(tokens)).index_fill(0, kept, 1))
        return torch.cat(scores)


def farthest(tokens: Tensor, count: int) -> Tensor:
    """Which `count` of an image's tokens `(N, C)` are kept: `(count,)` int64, ascending."""
    unit = F.normalize(tokens.float(), dim=-1).nan_to_num_(nan=0, posinf=0, neginf=0)
    likeness = unit.new_full((len(unit),), -torch.inf)  # to the nearest kept one
    kept = [(unit @ unit.mean(dim=0)).argmin(dim=0, keepdim=True)]
    while len(kept) < count:
        likeness = torch.maximum(likeness, unit @ unit[kept[-1]][0])
        likeness[kept[-1]] = torch.inf
        kept.append(likeness.argmin(dim=0, keepdim=True))
    return torch.cat(kept).sort().values
