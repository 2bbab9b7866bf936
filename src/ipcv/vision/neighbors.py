"""Neighbor-Guided Reconstruction: the nearest kept rows of removed ones, and what these follow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ipcv.core import ops

SPAN = 3
"""Frames whose kept rows, on average, a removed row of a video looks at: its own and the next."""


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


class Frames(NamedTuple):
    """Where the rows of videos are, for a search in few frames.

    Attributes:
        counts: frames per group, of equally many rows each.
        removed, kept: `(R,)`, `(K,)` int64 row numbers, ascending.
    """

    counts: Sequence[int]
    removed: Tensor
    kept: Tensor


def nearest_neighbors(
    removed: Tensor,
    kept: Tensor,
    removed_lengths: Sequence[int],
    kept_lengths: Sequence[int],
    num_neighbors: int,
    frames: Frames | None = None,
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
        frames: where given, a row of a group of more than `SPAN` frames looks among as many kept
            rows as `SPAN` frames have on average, those around the middle of its own frame.
        memory_budget: bytes of distances held at a time, `ops.NEIGHBOR_MEMORY_BUDGET` unless
            given; bounds the chunks, not the result.
    """
    memory_budget = memory_budget or ops.NEIGHBOR_MEMORY_BUDGET
    width = min(num_neighbors, max(kept_lengths))
    indices = removed.new_zeros(len(removed), width, dtype=torch.int64)
    ragged = any(k < width for r, k in zip(removed_lengths, kept_lengths, strict=True) if r)
    weights = removed.new_zeros(len(removed), width, dtype=torch.float32) if ragged else None
    counts = [1] * len(kept_lengths) if frames is None else frames.counts
    for groups in _equal_groups(removed_lengths, kept_lengths, counts):
        rows, candidates, found = groups.rows, groups.candidates, min(width, groups.num_kept)
        parts = removed[rows], kept[candidates]
        if frames is None or groups.num_frames <= SPAN:
            nearest = _in_groups(*parts, groups, found, memory_budget)
        else:
            first = groups.first_row
            numbers = frames.removed[rows] - first, frames.kept[candidates] - first
            nearest = _in_frames(*parts, *numbers, groups, found, memory_budget)
        nearest = nearest + candidates.start
        indices[rows, :found] = nearest
        indices[rows, found:] = nearest[:, :1]  # not used, but of the same group
        if weights is not None:
            weights[rows, :found] = 1 / found
    return Neighbors(indices, weights)


class _Groups(NamedTuple):
    """Consecutive groups of equal lengths, and where their removed and kept rows are."""

    rows: slice
    candidates: slice
    number: int
    num_removed: int
    num_kept: int
    num_frames: int

    @property
    def first_row(self) -> int:
        """The number of the first row, among removed and kept ones."""
        return int(self.rows.start + self.candidates.start)

    @property
    def frame_length(self) -> int:
        """Rows per frame."""
        return (self.num_removed + self.num_kept) // self.num_frames


def _equal_groups(*lengths: Sequence[int]) -> Iterator[_Groups]:
    """Those that have removed rows, by `removed_lengths, kept_lengths, frame_counts`."""
    row = candidate = 0
    groups = list(zip(*lengths, strict=True))
    starts = [i for i, group in enumerate(groups) if i == 0 or group != groups[i - 1]]
    for first, last in pairwise([*starts, len(groups)]):
        number, (num_removed, num_kept, num_frames) = last - first, groups[first]
        rows = slice(row, row + number * num_removed)
        candidates = slice(candidate, candidate + number * num_kept)
        row, candidate = rows.stop, candidates.stop
        if num_removed:
            yield _Groups(rows, candidates, number, num_removed, num_kept, num_frames)


def _in_groups(
    removed: Tensor, kept: Tensor, groups: _Groups, k: int, memory_budget: int
) -> Tensor:
    """`(G * R, k)`: places of the nearest among all `kept (G * K, C)`, each of its own group."""
    shapes = (groups.number, groups.num_removed, -1), (groups.number, groups.num_kept, -1)
    nearest = _nearest(removed.view(shapes[0]), kept.view(shapes[1]), k, memory_budget)
    offsets = torch.arange(0, len(kept), groups.num_kept, device=kept.device)
    return (nearest + offsets[:, None, None]).flatten(0, 1)


def _in_frames(
    removed: Tensor,
    kept: Tensor,
    removed_rows: Tensor,
    kept_rows: Tensor,
    groups: _Groups,
    k: int,
    memory_budget: int,
) -> Tensor:
    """The same among the kept rows around a row's frame.

    All rows of a frame ask, so that shapes are fixed; for kept ones the first removed row does.
    """
    num_frames, length = groups.number * groups.num_frames, groups.frame_length
    window = max(k, math.ceil(SPAN * groups.num_kept / groups.num_frames))
    first = _first_candidates(kept_rows, groups, window)
    asking = removed_rows.new_zeros(num_frames * length)
    asking[removed_rows] = torch.arange(len(removed), device=removed.device)
    asking = asking.view(num_frames, length)
    result = asking.new_empty(num_frames, length, k)
    step = max(1, memory_budget // (4 * max(length * window, (length + window) * kept.shape[1])))
    for start in range(0, num_frames, step):
        frame = slice(start, start + step)
        candidates = first[frame, None] + torch.arange(window, device=kept.device)
        nearest = _nearest(removed[asking[frame]], kept[candidates], k, memory_budget)
        result[frame] = candidates.gather(1, nearest.flatten(1)).view_as(nearest)
    return result.flatten(0, 1)[removed_rows]


def _first_candidates(kept_rows: Tensor, groups: _Groups, window: int) -> Tensor:
    """`(G * F,)`: where, among all kept rows, those around each frame begin."""
    length = groups.frame_length
    frame = torch.arange(groups.number * groups.num_frames, device=kept_rows.device)
    center = torch.searchsorted(kept_rows, frame * length + length // 2)
    start = frame // groups.num_frames * groups.num_kept
    return (center - window // 2).clamp(start, start + groups.num_kept - window)


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
            with ops.full_precision(kept.device):
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
        wide = torch.promote_types(kept.dtype, torch.float32)
        self.base = (removed.to(wide) - neighbors.combine(kept.to(wide))).to(kept.dtype)

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
