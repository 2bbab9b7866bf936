"""VisionZip: keep what the encoder attends to, and a few tokens that stand for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from ipcv.core import ops
from ipcv.core.config import require_fraction
from ipcv.language.encoder_output import EncoderOutputMethod
from ipcv.language.layout import ImageRun
from ipcv.language.method import Prompt

DOMINANT, CONTEXTUAL = 2.0, 1.0


@dataclass(frozen=True)
class VisionZip(EncoderOutputMethod):
    """Dominant and contextual tokens at the encoder's output (arXiv 2412.04467).

    Dominant tokens of an image are those that received most attention in the encoder's
    second-to-last block: from CLS where there is one, else from all patches, mean over heads. Of
    the others, uniformly spaced ones become contextual: each of the rest is merged into the
    contextual one whose key in that block is most cosine-similar to its own, by a plain mean. All
    stay where they were in the prompt.

    Where a token is made of several patches (Qwen2-VL, Qwen2.5-VL, InternVL, Gemma 3), its
    attention and key are their means. In an encoder that is compressed by the same call of
    `ipcv.compress`, they are those of all patches, the removed ones rebuilt before that block.

    The defaults are the paper's: 64 of 576 tokens (LLaVA-1.5), 10 of them contextual.

    What differs: tokens are merged as the language model gets them, behind the projector. The
    authors' code keeps the CLS token as well, which is no visual token here; it puts contextual
    tokens behind the dominant ones; and to a contextual token it adds the mean of those merged into
    it, where this code takes the mean of them all. Keys are taken before rotary embedding. In
    Qwen2.5-VL that block attends within windows.

    Attributes:
        reduction_ratio: fraction of the tokens of each image that is dropped, in [0, 1). Each image
            keeps `max(1, int(tokens * (1 - reduction_ratio)))`.
        contextual_ratio: fraction of the kept tokens that are contextual, in [0, 1), rounded down.

    Raises:
        ValueError: a setting is out of range or of the wrong type.
    """

    reduction_ratio: float = 8 / 9
    contextual_ratio: float = 10 / 64

    needs_encoder = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_fraction("contextual_ratio", self.contextual_ratio)

    def scores(self, prompt: Prompt) -> Tensor:
        """`DOMINANT`, `CONTEXTUAL` or 0."""
        attention = prompt.encoded.attention
        dominant, rest = self._dominant(prompt, attention)
        contextual = rest[self._contextual(prompt)]
        scores = torch.zeros_like(attention).index_fill(0, dominant, DOMINANT)
        return scores.index_fill(0, contextual, CONTEXTUAL)

    def merge(self, prompt: Prompt, scores: Tensor) -> Tensor:
        """The state of a contextual token is the mean of those that it stands for."""
        places = self._places(prompt)
        if not any(map(len, places)):
            return prompt.hidden_states
        _, rest = self._dominant(prompt, scores)
        states, positions = prompt.hidden_states.flatten(0, 1), prompt.positions[rest]
        lengths = self._rest_lengths(prompt)
        means = merge_similar(
            ops.pad_groups(states[positions].float(), lengths),
            ops.pad_groups(prompt.encoded.keys[rest], lengths),
            lengths,
            places,
        )
        merged = ops.unpad_groups(means, [len(place) for place in places])
        contextual = positions[self._contextual(prompt)]
        states = states.index_copy(0, contextual, merged.to(states.dtype))
        return states.view_as(prompt.hidden_states)

    def _split(self, run: ImageRun) -> tuple[int, int]:
        """How many dominant and contextual tokens an image keeps."""
        kept = self.keep_count(run, 0)
        contextual = int(kept * self.contextual_ratio)
        return kept - contextual, contextual

    def _dominant(self, prompt: Prompt, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The dominant tokens and the rest, of the `N`."""
        counts = [self._split(run)[0] for run in prompt.layout.runs]
        return ops.select_top(scores, prompt.lengths, counts)

    def _rest_lengths(self, prompt: Prompt) -> list[int]:
        """Tokens per image that are not dominant."""
        return [run.length - self._split(run)[0] for run in prompt.layout.runs]

    def _places(self, prompt: Prompt) -> list[Tensor]:
        """Per image, which of the rest are contextual, on the CPU."""
        counts = [self._split(run)[1] for run in prompt.layout.runs]
        lengths = self._rest_lengths(prompt)
        return [
            torch.arange(count) * (length // max(1, count))
            for count, length in zip(counts, lengths, strict=True)
        ]

    def _contextual(self, prompt: Prompt) -> Tensor:
        """The same in one, counted from the first image's first, on the device."""
        firsts = accumulate(self._rest_lengths(prompt), initial=0)
        places = [first + p for first, p in zip(firsts, self._places(prompt), strict=False)]
        return ops.upload(torch.cat(places), prompt.hidden_states.device)


def merge_similar(
    states: Tensor, keys: Tensor, lengths: Sequence[int], places: Sequence[Tensor]
) -> Tensor:
    """Merge the tokens of each image into some of them, each into the most similar one.

    Args:
        states: `(R, N, C)` fp32, image `r` padded behind its `lengths[r]` tokens.
        keys: `(R, N, D)` fp32, whose cosine similarity counts.
        lengths: tokens per image.
        places: per image, its tokens that the others are merged into, on the CPU.

    Returns:
        `(R, P, C)` the means at those places; arbitrary behind the places of an image.
    """
    device, length = states.device, states.shape[1]
    # What only makes up the rectangle has the place behind the last token.
    place = ops.upload(pad_sequence(list(places), batch_first=True, padding_value=length), device)
    keys = F.pad(F.normalize(keys, dim=-1), (0, 0, 0, 1))
    similarity = keys @ keys.gather(1, place[..., None].expand(-1, -1, keys.shape[2])).mT
    similarity = similarity.masked_fill(place[:, None] == length, -torch.inf)
    number = torch.arange(place.shape[1], device=device)
    into = similarity.argmax(dim=2).scatter(1, place, number.expand_as(place))[:, :length]
    is_token = torch.arange(length, device=device) < ops.upload(lengths, device)[:, None]
    weights = ((into[..., None] == number) & is_token[..., None]).float()
    return weights.mT @ states / weights.sum(dim=1)[..., None].clamp(min=1)
