"""Token Merging, the classic of training-free compression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from ipcv.config import Config, require_integer

Schedule = Literal["constant", "decreasing"]


@dataclass(frozen=True)
class ToMe(Config):
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

    def merged_per_block(self, patches: int, depth: int) -> list[int]:
        """How many of so many patches of a segment each of `depth` blocks merges."""
        r = self.r * patches if isinstance(self.r, float) else self.r
        if self.schedule == "constant":
            return [round(r)] * depth
        return [round(2 * r * (1 - block / max(1, depth - 1))) for block in range(depth)]


def match(keys: Tensor, r: int, protected: int = 0) -> tuple[Tensor, Tensor]:
    """Bipartite soft matching (section 3, "Bipartite Soft Matching").

    Every other token is a candidate, and is drawn to the most similar of the others; the `r` most
    similar candidates are merged.

    Args:
        keys: `(G, n, D)`, compared by cosine.
        r: tokens to merge, at most `(n - protected) // 2`.
        protected: tokens at the start that are not merged, and that nothing is merged into.

    Returns:
        `kept (G, n - r)`, which tokens stay, and `destination (G, n)`, the place among those into
        which each token goes; int64.
    """
    keys = F.normalize(keys.float(), dim=-1)
    patches = keys[:, protected:]
    similarity = patches[:, ::2] @ patches[:, 1::2].transpose(1, 2)
    best, counterpart = similarity.max(dim=-1)
    order = best.argsort(dim=-1, descending=True, stable=True)
    merged = order[:, :r]
    stays = torch.ones_like(keys[..., 0], dtype=torch.bool)
    stays.scatter_(1, protected + 2 * merged, False)
    kept = (~stays).int().argsort(dim=1, stable=True)[:, : keys.shape[1] - r]
    destination = stays.cumsum(1) - 1
    target = protected + 2 * counterpart.gather(1, merged) + 1
    destination.scatter_(1, protected + 2 * merged, destination.gather(1, target))
    return kept, destination


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
