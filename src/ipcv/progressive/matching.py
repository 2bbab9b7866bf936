"""Which token goes with which: the matching of Token Merging (Bolya et al., arXiv 2210.09461)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


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
