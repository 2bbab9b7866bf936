"""Pure tensor functions of the method: scores, per-group selection, neighbours, reconstruction.

Rows are the flattened tokens of one encoder call. Groups are consecutive runs of rows whose lengths
are known on the host, so that no function here waits for results of the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

NEIGHBOR_MEMORY_BUDGET = 256 * 2**20
"""Upper bound, in bytes, on the distances that the neighbour search holds at a time. May be set."""


def feature_difference(before: Tensor, after: Tensor) -> Tensor:
    """How much a block changed each row: `||after - before||_2` (paper, eq. 3).

    Args:
        before: `(N, C)` input of the block, any floating dtype.
        after: `(N, C)` its output.

    Returns:
        `(N,)` fp32.
    """
    difference = after - before
    return torch.linalg.vector_norm(difference, dim=-1, dtype=torch.float32)  # type: ignore[no-any-return]


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
        scores: `(N,)`; among equal scores the earlier row wins.
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
    by_score = scores.argsort(descending=True, stable=True)
    by_group = by_score[group[by_score].argsort(stable=True)]
    rank = torch.arange(num_rows, device=device) - (length.cumsum(0) - length)[group]
    is_kept = rank < upload(counts, device)[group]
    kept_first = torch.where(is_kept, by_group, by_group + num_rows).sort().values
    return kept_first[:num_kept], kept_first[num_kept:] - num_rows


def pad_groups(values: Tensor, lengths: Sequence[int], fill: float = 0.0) -> Tensor:
    """Rows `(N, ...)` of all groups as `(groups, longest, ...)`, shorter ones filled up."""
    return pad_sequence(list(values.split(list(lengths))), batch_first=True, padding_value=fill)


def unpad_groups(values: Tensor, lengths: Sequence[int]) -> Tensor:
    """The inverse of `pad_groups`."""
    rows = [torch.arange(n) + i * values.shape[1] for i, n in enumerate(lengths)]
    return values.flatten(0, 1)[upload(torch.cat(rows), values.device)]


class Neighbors(NamedTuple):
    """For each of `R` removed rows, the kept rows that rebuild it.

    Attributes:
        indices: `(R, k)` int64, positions among the kept rows; `k` may be 0.
        weights: `(R, k)`, rows sum to 1; `None` means the plain mean.
    """

    indices: Tensor
    weights: Tensor | None = None

    def combine(self, kept: Tensor) -> Tensor:
        """The weighted mean of each row's neighbours: `(K, C) -> (R, C)`, no `(R, k, C)` tensor.

        Zero for rows without neighbours.
        """
        if not self.indices.shape[1]:
            return kept.new_zeros(len(self.indices), kept.shape[1])
        if self.weights is None:
            return F.embedding_bag(self.indices, kept, mode="mean")
        weights = self.weights.to(kept.dtype)
        return F.embedding_bag(self.indices, kept, mode="sum", per_sample_weights=weights)


def nearest_neighbors(
    removed: Tensor,
    kept: Tensor,
    removed_lengths: Sequence[int],
    kept_lengths: Sequence[int],
    num_neighbors: int,
    memory_budget: int | None = None,
) -> Neighbors:
    """For each removed row the nearest kept rows of its own group, by Euclidean distance.

    Distances are fp32, but bf16 for bf16 rows on an accelerator, whose fp32 is far slower.

    Args:
        removed: `(R, C)`, group by group.
        kept: `(K, C)`, group by group.
        removed_lengths: rows of `removed` per group.
        kept_lengths: rows of `kept` per group, none 0 where the group has removed rows.
        num_neighbors: `k`; a group that keeps fewer uses all it keeps.
        memory_budget: bytes of distances held at a time, `NEIGHBOR_MEMORY_BUDGET` unless given;
            bounds the chunks, not the result.
    """
    memory_budget = memory_budget or NEIGHBOR_MEMORY_BUDGET
    width = min(num_neighbors, max(kept_lengths))
    indices = removed.new_zeros(len(removed), width, dtype=torch.int64)
    ragged = any(k < width for r, k in zip(removed_lengths, kept_lengths, strict=True) if r)
    weights = removed.new_zeros(len(removed), width, dtype=torch.float32) if ragged else None
    for rows, candidates, shape in _equal_groups(removed_lengths, kept_lengths):
        num_groups, num_removed, num_kept = shape
        found = min(width, num_kept)
        nearest = _nearest(
            removed[rows].view(num_groups, num_removed, -1),
            kept[candidates].view(num_groups, num_kept, -1),
            found,
            memory_budget,
        )
        offsets = torch.arange(candidates.start, candidates.stop, num_kept, device=removed.device)
        indices[rows, :found] = (nearest + offsets.view(-1, 1, 1)).view(-1, found)
        if weights is not None:
            weights[rows, :found] = 1 / found
    return Neighbors(indices, weights)


def _equal_groups(
    removed_lengths: Sequence[int], kept_lengths: Sequence[int]
) -> Iterator[tuple[slice, slice, tuple[int, int, int]]]:
    """Runs of consecutive groups of equal lengths, as row slices and `(groups, removed, kept)`."""
    row = candidate = 0
    pairs = list(zip(removed_lengths, kept_lengths, strict=True))
    starts = [i for i, pair in enumerate(pairs) if i == 0 or pair != pairs[i - 1]]
    for first, last in pairwise([*starts, len(pairs)]):
        num_groups, (num_removed, num_kept) = last - first, pairs[first]
        rows = slice(row, row + num_groups * num_removed)
        candidates = slice(candidate, candidate + num_groups * num_kept)
        row, candidate = rows.stop, candidates.stop
        if num_removed:
            yield rows, candidates, (num_groups, num_removed, num_kept)


def _nearest(removed: Tensor, kept: Tensor, k: int, memory_budget: int) -> Tensor:
    """`(G, R, C)`, `(G, K, C) -> (G, R, k)`: positions of the nearest, chunked over G, then R."""
    num_groups, num_removed, _ = removed.shape
    dtype = _distance_dtype(removed)
    per_row = kept.shape[1] * dtype.itemsize
    row_step = min(num_removed, max(1, memory_budget // per_row))
    group_step = max(1, memory_budget // (per_row * row_step))
    result = removed.new_empty(num_groups, num_removed, k, dtype=torch.int64)
    for first in range(0, num_groups, group_step):
        group = slice(first, first + group_step)
        candidates = kept[group].float()
        center = candidates.mean(dim=1, keepdim=True)  # small norms: less cancellation below
        candidates = (candidates - center).transpose(1, 2)
        squared_norm = candidates.square().sum(dim=1, keepdim=True)
        candidates, squared_norm = candidates.to(dtype), squared_norm.to(dtype)
        for start in range(0, num_removed, row_step):
            row = slice(start, start + row_step)
            queries = (removed[group, row].float() - center).to(dtype)
            # The squared distance less the query's own norm, which does not change the order.
            distance = torch.baddbmm(squared_norm, queries, candidates, alpha=-2)
            result[group, row] = distance.topk(k, largest=False, sorted=False).indices
    return result


def _distance_dtype(states: Tensor) -> torch.dtype:
    """fp16 is not among them: squares of large states overflow in it."""
    is_bfloat16 = states.device.type != "cpu" and states.dtype == torch.bfloat16
    return torch.bfloat16 if is_bfloat16 else torch.float32


class Reconstruction:
    """Neighbor-Guided Reconstruction (paper, section 3.2): removed rows follow their neighbours.

    With the states `h_p` at the pruning layer, a removed row is later
    `h_p[r] + mean_j(h_l[j] - h_p[j])`. It is linear, so `base = h_p[r] - mean_j h_p[j]` is computed
    once.
    """

    def __init__(self, removed: Tensor, kept: Tensor, neighbors: Neighbors) -> None:
        """`removed (R, C)` and `kept (K, C)` are rows of the pruning layer's input."""
        self.neighbors = neighbors
        self.base = (removed.float() - neighbors.combine(kept.float())).to(kept.dtype)

    def __call__(self, kept: Tensor) -> Tensor:
        """The removed rows `(R, C)` that go with the current kept rows `(K, C)`."""
        return self.base + self.neighbors.combine(kept)

    def to(self, device: torch.device) -> None:
        """Move the state, for a model whose blocks are split over devices."""
        indices, weights = self.neighbors
        self.neighbors = Neighbors(
            indices.to(device), None if weights is None else weights.to(device)
        )
        self.base = self.base.to(device)


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
