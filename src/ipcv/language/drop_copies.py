"""Dropping of copies: visual tokens that are most like an earlier one of their image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ipcv.core import ops
from ipcv.language.encoder_output import EncoderOutputMethod
from ipcv.language.method import Prompt


@dataclass(frozen=True)
class DropCopies(EncoderOutputMethod):
    """The language model's side of `PixelPrune` (arXiv 2604.00886) and `RunLength` (2411.05222).

    Those tokens of an image go, at the encoder's output, that are nearest to an earlier one, by
    Euclidean distance. Behind such an encoder with the same ratio these are the copies.

    Attributes:
        reduction_ratio: fraction of the tokens of each image that is dropped, in [0, 1). Each image
            keeps `max(1, int(tokens * (1 - reduction_ratio)))`.

    Raises:
        ValueError: the setting is out of range or of the wrong type.
    """

    reduction_ratio: float = 0.5

    def scores(self, prompt: Prompt) -> Tensor:
        """How far each token is from the nearest earlier one."""
        images = prompt.of_images(prompt.hidden_states).float().split(prompt.lengths)
        return torch.cat([distance_to_earlier(tokens) for tokens in images])


def distance_to_earlier(tokens: Tensor) -> Tensor:
    """How far each of the tokens `(N, C)` is from the nearest before it: `(N,)`, first infinite."""
    number = torch.arange(len(tokens), device=tokens.device)
    step = max(1, ops.NEIGHBOR_MEMORY_BUDGET // (4 * len(tokens)))
    nearest = []
    for start in range(0, len(tokens), step):
        own = number[start : start + step, None]
        distance = torch.cdist(
            tokens[start : start + step], tokens, compute_mode="donot_use_mm_for_euclid_dist"
        )
        nearest.append(distance.masked_fill_(number >= own, torch.inf).amin(dim=1))
    return torch.cat(nearest)
