"""Pure tensor functions of the method: scores, selection per group, rows in their order, rotation.

Rows are the flattened tokens of one encoder call. Groups are consecutive runs of rows whose lengths
are known on the host, so that no function here waits for results of the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

NEIGHBOR_MEMORY_BUDGET = 256 * 2**20
"""Upper bound, in bytes, on the distances that the neighbour search holds at a time. May be set."""

SPREAD = 2654435769
"""The golden ratio of `2 ** 32`, of which multiples, in order of their remainders, are everywhere
alike far apart (Knuth, section 6.4).
"""


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """A context without autocast, in which operations keep the dtypes that their docstrings say."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def feature_difference(before: Tensor, after: Tensor) -> Tensor:
    """How much a block changed each row: `||after - before||_2` (paper, eq. 3).

    Args:
        before: `(N, C)` input of the block, any floating dtype.
        after: `(N, C)` its output.

    Returns:
        `(N,)` fp32.
    """
    return norms(after - before)


def norms(rows: Tensor) -> Tensor:
    """The Euclidean norm of each row, in fp32: `(..., C) -> (...)`."""
    wide = torch.promote_types(rows.dtype, torch.float32)
    return torch.linalg.vector_norm(rows, dim=-1, dtype=wide).float()  # type: ignore[no-any-return]


def upload(
    values: Tensor | Sequence[Any], device: torch.device, dtype: torch.dtype | None = None
) -> Tensor:
    """Values on the host as a tensor on the device, which nobody waits for."""
    tensor = torch.as_tensor(values, dtype=dtype)
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # from other memory, the copy would wait
    return tensor.to(device, non_blocking=True)


def keep_count(length: int, reduction_ratio: float) -> int:
    """How many of `length` patches are kept: `int(length * (1 - ratio))`, but never none."""
    return max(1, int(length * (1 - reduction_ratio)))


def select_top(
    scores: Tensor, lengths: Sequence[int], counts: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Split the rows of every group into its `counts[g]` highest scores and the rest.

    Args:
        scores: `(N,)`; among equal ones those win that spread evenly over the group's rows.
        lengths: rows per group, in order; they sum to `N`.
        counts: rows to keep per group, each at most its length.

    Returns:
        `kept (K,)` and `removed (N - K,)`, int64, ascending.
    """
    num_rows, num_kept, device = len(scores), sum(counts), scores.device
    length = upload(lengths, device)
    group = torch.arange(len(lengths), device=device).repeat_interleave(
        length, output_size=num_rows
    )
    rank = torch.arange(num_rows, device=device) - (length.cumsum(0) - length)[group]
    evenly = _spread(rank)
    by_score = evenly[scores[evenly].argsort(descending=True, stable=True)]
    by_group = by_score[group[by_score].argsort(stable=True)]
    is_kept = rank < upload(counts, device)[group]
    kept_first = torch.where(is_kept, by_group, by_group + num_rows).sort().values
    return kept_first[:num_kept], kept_first[num_kept:] - num_rows


def equal_runs(rows: Tensor, lengths: Sequence[int]) -> list[Tensor]:
    """Rows `(N, ...)` of groups, as `(G, n, ...)` for every run of groups of equal length."""
    runs, first = [], 0
    for length, equal in groupby(lengths):
        number = len(list(equal))
        last = first + number * length
        runs.append(rows[first:last].view(number, length, *rows.shape[1:]))
        first = last
    return runs


def spread_order(length: int, device: torch.device) -> Tensor:
    """`(length,)` int64: rows in an order of which every beginning spreads evenly over them."""
    if torch.compiler.is_compiling():  # a cache would break the graph
        return _spread(torch.arange(length, device=device))
    return upload(_spread_order(length), device)


@lru_cache(maxsize=64)
def _spread_order(length: int) -> Tensor:
    with torch.inference_mode(False):  # who trains may use it too
        return _spread(torch.arange(length))


def _spread(rank: Tensor) -> Tensor:
    return (rank * SPREAD % 2**32).argsort(stable=True)


def pad_groups(values: Tensor, lengths: Sequence[int], fill: float = 0.0) -> Tensor:
    """Rows `(N, ...)` of all groups as `(groups, longest, ...)`, shorter ones filled up."""
    return pad_sequence(list(values.split(list(lengths))), batch_first=True, padding_value=fill)


def unpad_groups(values: Tensor, lengths: Sequence[int]) -> Tensor:
    """The inverse of `pad_groups`."""
    rows = [torch.arange(n) + i * values.shape[1] for i, n in enumerate(lengths)]
    return values.flatten(0, 1)[upload(torch.cat(rows), values.device)]


def merge_rows(
    kept: Tensor, removed: Tensor, kept_indices: Tensor, removed_indices: Tensor
) -> Tensor:
    """All `N = K + R` rows in their original order: `(K, C)`, `(R, C) -> (N, C)`."""
    rows = kept.new_empty(len(kept) + len(removed), kept.shape[-1])
    return rows.index_copy_(0, kept_indices, kept).index_copy_(0, removed_indices, removed)


def rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding in fp32: `(N, heads, D)` by `cos`, `sin` of `(N, D)`."""
    x, half = states.float(), states.shape[-1] // 2
    cos, sin = cos.float()[:, None], sin.float()[:, None]
    rotated = x * cos
    rotated[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-1)
    rotated[..., half:].addcmul_(x[..., :half], sin[..., half:])
    return rotated.to(states.dtype)
