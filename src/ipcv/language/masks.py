"""Attention masks for the tokens that are left, picked from those made for all tokens."""

from __future__ import annotations

import torch
from torch import Tensor


def pick_mask(mask: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
    """The rows and columns of a mask that belong to the given tokens.

    Args:
        mask: `(B or 1, H or 1, Q, K)` bool or additive, or a padding mask `(B, K)`.
        queries: `(B, Q')` rows of the mask; -1 for a token that is none.
        keys: `(B, K')` columns of the mask; negative for a token that must not be attended.

    Returns:
        `(B, H or 1, Q', K')` or `(B, K')`, of the mask's type.
    """
    is_held, columns = keys >= 0, keys.clamp(min=0)
    if mask.ndim == 2:
        return mask.gather(1, columns) * is_held
    batch = torch.arange(len(mask), device=mask.device)[:, None, None]
    rows = queries.clamp(min=0)[:, :, None]
    picked = mask.movedim(1, -1)[batch, rows, columns[:, None, :]].movedim(-1, 1)
    forbidden = False if mask.dtype == torch.bool else torch.finfo(mask.dtype).min
    return picked.masked_fill(~is_held[:, None, None], forbidden)


def causal_mask(queries: Tensor, keys: Tensor) -> Tensor:
    """`(B, 1, Q, K)` bool: whether key `keys[b, k]` is a token, and none after `queries[b, q]`."""
    mask = (keys[:, None, :] <= queries[:, :, None]) & (keys >= 0)[:, None, :]
    return mask[:, None]
