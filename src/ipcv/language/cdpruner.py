"""CDPruner: keep the tokens that are most diverse, given what is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ipcv.core import ops
from ipcv.language.encoder_output import EncoderOutputMethod
from ipcv.language.method import Prompt

MINIMUM = 1e-6
"""Of a relevance and of a variance: what is less is rounding."""


@dataclass(frozen=True)
class CDPruner(EncoderOutputMethod):
    """Conditional diversity at the encoder's output (arXiv 2506.10967).

    The kept tokens of an image are a greedy MAP estimate of a determinantal point process with the
    kernel `diag(r) S diag(r)`: `S` holds the cosine similarities of the image's tokens as the
    language model gets them, `r` their relevance to the prompt, scaled to [0, 1] per image.

    The default is the paper's 64 of 576 tokens (LLaVA-1.5).

    What differs: the paper's relevance of a token is its similarity to the instruction in the space
    of CLIP, for which it runs CLIP's text encoder; its code negates that similarity. Here it is the
    mean cosine similarity to the prompt's text tokens as the language model embeds them, template
    included, for which nothing else has to run and any family will do.

    Attributes:
        reduction_ratio: fraction of the tokens of each image that is dropped, in [0, 1). Each image
            keeps `max(1, int(tokens * (1 - reduction_ratio)))`.

    Raises:
        ValueError: the setting is out of range or of the wrong type.
    """

    reduction_ratio: float = 8 / 9

    def scores(self, prompt: Prompt) -> Tensor:
        """1 for the tokens to keep, 0 for the others."""
        runs, lengths, device = prompt.layout.runs, prompt.lengths, prompt.hidden_states.device
        states = F.normalize(prompt.hidden_states.float(), dim=-1)
        is_text = prompt.is_text[..., None]
        text = (states * is_text).sum(dim=1) / is_text.sum(dim=1).clamp(min=1)
        images = ops.pad_groups(prompt.of_images(states), lengths)
        rows = ops.upload([run.row for run in runs], device)
        similarity = (images @ text[rows, :, None])[..., 0]
        counts = [self.keep_count(run, prompt.layer) for run in runs]
        is_kept = most_diverse(images, relevance(similarity, lengths), lengths, counts)
        return ops.unpad_groups(is_kept, lengths).float()


def relevance(similarity: Tensor, lengths: Sequence[int]) -> Tensor:
    """Similarities `(R, N)` to the prompt, scaled to [0, 1] over each image's `lengths[r]` tokens.

    Where they are all equal, all are 1. What is behind an image is 0.
    """
    is_token = _is_token(similarity, lengths)
    lowest = similarity.masked_fill(~is_token, torch.inf).amin(dim=1, keepdim=True)
    highest = similarity.masked_fill(~is_token, -torch.inf).amax(dim=1, keepdim=True)
    scaled = (similarity - lowest + MINIMUM) / (highest - lowest + MINIMUM)
    return scaled.masked_fill(~is_token, 0)


def most_diverse(
    images: Tensor, relevance: Tensor, lengths: Sequence[int], counts: Sequence[int]
) -> Tensor:
    """Greedy MAP inference: of each image, tokens with a large determinant of their kernel.

    In each step the token is added that multiplies the determinant by most. That factor is its
    squared relevance times what its variance is, given those that were added. The variances come
    from a Cholesky factor that grows by a row per step (arXiv 1709.05135), without an `N x N`
    kernel: `O(N K^2 + N K C)` for `K` steps. Where no variance is left, the more relevant go first.

    Args:
        images: `(R, N, C)` fp32 unit vectors, image `r` padded behind its `lengths[r]` tokens.
        relevance: `(R, N)` fp32, not negative.
        lengths: tokens per image.
        counts: tokens to choose per image, at most its length.

    Returns:
        `(R, N)` bool.
    """
    steps, device = max(counts), images.device
    count = ops.upload(counts, device)
    weight = relevance.square()
    variance = torch.ones_like(weight)
    is_free = _is_token(weight, lengths)
    is_kept = torch.zeros_like(is_free)
    factor = weight.new_zeros(len(images), steps, images.shape[1])
    for step in range(steps):
        best = (weight * variance).masked_fill(~is_free, -torch.inf).argmax(dim=1, keepdim=True)
        is_kept |= torch.zeros_like(is_kept).scatter(1, best, (step < count)[:, None])
        is_free = is_free.scatter(1, best, False)
        token = best[..., None]
        chosen = images.gather(1, token.expand(-1, 1, images.shape[2]))
        known = factor[:, :step]
        own = known.gather(2, token.expand(-1, step, 1))
        row = (images @ chosen.transpose(1, 2) - known.transpose(1, 2) @ own)[..., 0]
        row = row / variance.gather(1, best).sqrt()
        factor[:, step] = row
        variance = (variance - row.square()).clamp(min=MINIMUM)
    return is_kept


def _is_token(values: Tensor, lengths: Sequence[int]) -> Tensor:
    """`(R, N)` bool, like the values: what is not behind its image."""
    length = ops.upload(lengths, values.device)
    return torch.arange(values.shape[1], device=values.device) < length[:, None]
