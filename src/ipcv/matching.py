"""Which token goes with which: the matching of Token Merging (Bolya et al., arXiv 2210.09461)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ipcv import ops


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
    best, counterpart = best_counterparts(keys[:, protected:])
    order = best.argsort(dim=-1, descending=True, stable=True)
    merged = order[:, :r]
    stays = torch.ones_like(keys[..., 0], dtype=torch.bool)
    stays.scatter_(1, protected + 2 * merged, False)
    kept = (~stays).int().argsort(dim=1, stable=True)[:, : keys.shape[1] - r]
    destination = stays.cumsum(1) - 1
    target = protected + 2 * counterpart.gather(1, merged) + 1
    destination.scatter_(1, protected + 2 * merged, destination.gather(1, target))
    return kept, destination


def best_counterparts(states: Tensor) -> tuple[Tensor, Tensor]:
    """For every other token, from the first on, the most cosine-similar one of the rest.

    Similarities are held under `ops.NEIGHBOR_MEMORY_BUDGET`.

    Args:
        states: `(G, n, D)`, `n` at least 2.

    Returns:
        `(G, (n + 1) // 2)` similarities, fp32, and places among the rest, int64.
    """
    unit = F.normalize(states.float(), dim=-1)
    candidates, others = unit[:, ::2], unit[:, 1::2].transpose(1, 2)
    (num_groups, length, _), row_bytes = candidates.shape, 4 * others.shape[2]
    row_step = min(length, max(1, ops.NEIGHBOR_MEMORY_BUDGET // row_bytes))
    group_step = max(1, ops.NEIGHBOR_MEMORY_BUDGET // (row_bytes * row_step))
    best = candidates.new_empty(num_groups, length)
    counterpart = torch.empty_like(best, dtype=torch.int64)
    for group in _slices(num_groups, group_step):
        for row in _slices(length, row_step):
            found = (candidates[group, row] @ others[group]).max(dim=-1)
            best[group, row], counterpart[group, row] = found
    return best, counterpart


def _slices(length: int, step: int) -> list[slice]:
    return [slice(first, first + step) for first in range(0, length, step)]
