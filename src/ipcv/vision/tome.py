"""Token Merging, the classic of training-free compression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ipcv.core.config import require_integer
from ipcv.vision.every_block import EveryBlockMethod
from ipcv.vision.matching import match
from ipcv.vision.tokens import Attend, TokenRun, Tokens

Schedule = Literal["constant", "decreasing"]


@dataclass(frozen=True)
class ToMe(EveryBlockMethod):
    """Token Merging in every block of the vision encoder (Bolya et al., arXiv 2210.09461).

    Between attention and MLP, `r` tokens of each attention segment (image, tile or video frame)
    are merged into their most similar counterpart by bipartite soft matching on keys, as means
    weighted by size; attention is proportional to size. Behind the last block every patch gets the
    token that it was merged into, so that the encoder returns as many tokens as without.

    What differs from the paper: `r` may be a fraction, as images differ in size here; tokens are
    copied back at the end, as in its authors' work on diffusion; with rotary embeddings, which the
    paper's models lack, the similarity is that of keys before rotation, and a merged token has the
    position of the counterpart that it was merged into. CLS and registers are never merged.

    Attributes:
        r: tokens merged per block: a number, or as a float below 1 the fraction of a segment's
            patches. At most half of the tokens are merged at a time.
        schedule: "constant", or "decreasing" from `2 r` in the first block to 0 in the last.

    Raises:
        ValueError: a setting is out of range or of the wrong type.
    """

    r: int | float = 0.03
    schedule: Schedule = "constant"

    def __post_init__(self) -> None:
        is_fraction = isinstance(self.r, float) and 0 <= self.r < 1
        if not is_fraction:
            require_integer("r, unless a fraction below 1,", self.r, minimum=0)
        if self.schedule not in get_args(Schedule):
            raise ValueError(f'schedule must be "constant" or "decreasing", got {self.schedule!r}')

    def removed_per_block(self, patches: int, depth: int) -> list[int]:
        """How many of so many patches of a segment each of `depth` blocks merges."""
        r = self.r * patches if isinstance(self.r, float) else self.r
        if self.schedule == "constant":
            return [round(r)] * depth
        return [round(2 * r * (1 - block / max(1, depth - 1))) for block in range(depth)]

    def start(self, lengths: tuple[int, ...], protected: int, rows: Tensor) -> TokenRun:
        """All rows as tokens of one patch each."""
        source = torch.arange(lengths[0], device=rows.device).expand_as(rows)
        sizes = torch.ones(rows.shape, device=rows.device)
        return MergingRun(lengths, protected, rows, sizes, source)


@dataclass
class MergingRun(TokenRun):
    """Tokens that are means of their patches.

    Attributes:
        source: `(G, lengths[0])` for each row of a segment, the place of its token.
    """

    source: Tensor

    def to(self, device: torch.device) -> None:
        """With where each row's token is."""
        super().to(device)
        self.source = self.source.to(device)

    def shrink(self, tokens: Tokens, r: int, attend: Attend) -> tuple[Tensor, Tensor]:
        """Attention for all of them, and then merge `r` of each segment by their keys."""
        attended = attend(tokens.query, tokens.key, tokens.value, self.sizes)
        if not r:
            return tokens.states, attended
        kept, destination = match(tokens.plain_key.mean(2), r, self.protected)
        self.rows, self.source = self.rows.gather(1, kept), destination.gather(1, self.source)
        (states, sizes), (attended, _) = (
            merge(x, self.sizes, destination, kept.shape[1]) for x in (tokens.states, attended)
        )
        self.sizes = sizes
        return states, attended

    def restore(self, tokens: Tensor) -> Tensor:
        """A copy of its token for every row."""
        return tokens.gather(1, self.source[..., None].expand(-1, -1, tokens.shape[-1]))


def merge(states: Tensor, sizes: Tensor, destination: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Means of the tokens that go to the same place, weighted by size.

    Args:
        states: `(G, n, C)`.
        sizes: `(G, n)` fp32, patches per token.
        destination: `(G, n)`, from `match`.
        length: `n - r`, the tokens that are left.

    Returns:
        `(G, n - r, C)` and their sizes `(G, n - r)`.
    """
    groups, _, channels = states.shape
    merged = sizes.new_zeros(groups, length).scatter_add_(1, destination, sizes)
    share = (sizes / merged.gather(1, destination))[..., None].to(states.dtype)
    offsets = torch.arange(groups, device=states.device)[:, None] * length
    rows = (destination + offsets).flatten()
    means = states.new_zeros(groups * length, channels)
    means.index_add_(0, rows, (states * share).flatten(0, 1))
    return means.view(groups, length, channels), merged
