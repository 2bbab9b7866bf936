"""The attention that rows of an encoder block get, without a matrix of all of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

ATTENTION_MEMORY_BUDGET = 32 * 2**20
"""Upper bound, in bytes, on the attention held at a time, unless that of one query is larger.

Little enough to stay near a CPU's caches, and enough to fill a GPU.
"""


def attention_of_first(query: Tensor, key: Tensor, length: int, scaling: float) -> Tensor:
    """The attention with which the first row of each segment (CLS) looks at its rows.

    Args:
        query, key: `(N, heads, D)`, segments of `length` rows.
        length: rows per segment.
        scaling: factor on the products.

    Returns:
        `(N,)` fp32, mean over heads.
    """
    first = query[::length]
    keys = key.unflatten(0, (-1, length))
    weights = torch.einsum("bhd,bnhd->bhn", first, keys).float().mul(scaling).softmax(dim=-1)
    return weights.mean(dim=1).flatten()


def attention_received(
    query: Tensor,
    key: Tensor,
    lengths: Sequence[int],
    scaling: float,
    memory_budget: int = ATTENTION_MEMORY_BUDGET,
) -> Tensor:
    """The attention that each row gets from all rows of its segment.

    Args:
        query, key: `(N, heads, D)`, segment after segment.
        lengths: rows per segment.
        scaling: factor on the products.
        memory_budget: bytes of attention held at a time; bounds the chunks, not the result.

    Returns:
        `(N,)` fp32, mean over heads, sum over queries: 1 on average, in segments of any length.
    """
    num_heads, parts = query.shape[1], []
    start = 0
    for length, equal in groupby(length for length in lengths if length):
        num_segments = sum(1 for _ in equal)
        rows = slice(start, start := start + num_segments * length)
        # (rows, heads, D) -> (segments, heads, length, D)
        queries, keys = (
            x[rows].unflatten(0, (num_segments, length)).transpose(1, 2) for x in (query, key)
        )
        step = max(1, memory_budget // (4 * num_segments * num_heads * length))
        received = query.new_zeros(num_segments, length, dtype=torch.float32)
        for chunk in queries.split(step, dim=2):
            logits = (chunk @ keys.transpose(2, 3)).float().mul_(scaling)
            received += logits.softmax(dim=-1).sum(dim=(1, 2))
        parts.append(received.flatten() / num_heads)
    return torch.cat(parts)
