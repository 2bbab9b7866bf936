"""Neighbours and what they rebuild, against loops, on random shapes and values."""

import math

import pytest
import torch
from hypothesis import strategies as st

from ipcv.core import ops
from ipcv.vision import neighbors
from ipcv.vision.neighbors import Frames, Neighbors, Reconstruction, nearest_neighbors
from tests.strategies import check, groups, normal, seeds, split


def nearest(removed, kept, num_neighbors):
    """Distances to the nearest kept rows, ascending, for each removed row."""
    return [sorted(float((r - k).norm()) for k in kept)[:num_neighbors] for r in removed]


@check(seeds, groups(minimum=1), st.integers(1, 12), st.integers(1, 200))
def test_nearest_neighbors(seed, lengths_and_counts, num_neighbors, memory_budget):
    lengths, counts = lengths_and_counts
    removed_lengths = [n - k for n, k in zip(lengths, counts, strict=True)]
    removed, kept = normal(seed, sum(removed_lengths), 4), normal(seed + 1, sum(counts), 4)
    found = nearest_neighbors(
        removed, kept, removed_lengths, counts, num_neighbors, memory_budget=memory_budget
    )
    assert found.indices.shape == (len(removed), min(num_neighbors, max(counts)))
    for rows, candidates in zip(split(removed_lengths), split(counts), strict=True):
        expected = nearest(removed[rows], kept[candidates], num_neighbors)
        for row, distances in zip(rows, expected, strict=True):
            indices = found.indices[row]
            if found.weights is not None:
                weights = found.weights[row]
                torch.testing.assert_close(weights.sum(), torch.tensor(1.0))
                assert weights[weights > 0].unique().numel() == 1
                indices = indices[weights > 0]
            assert len(set(indices.tolist())) == len(distances)
            assert set(indices.tolist()) <= set(candidates)
            actual = (removed[row] - kept[indices]).norm(dim=-1).sort().values
            torch.testing.assert_close(actual, torch.tensor(distances), atol=1e-4, rtol=1e-4)


@st.composite
def videos(draw):
    """Frames, rows per frame and kept rows of some videos; row numbers that are kept."""
    kinds = draw(st.lists(st.integers(0, 1), min_size=1, max_size=4))
    sizes = [(draw(st.integers(1, 9)), draw(st.integers(1, 5))) for _ in range(2)]
    counts = [draw(st.integers(1, frames * length)) for frames, length in sizes]
    chosen = [
        sorted(draw(st.permutations(range(sizes[kind][0] * sizes[kind][1])))[: counts[kind]])
        for kind in kinds
    ]
    return [sizes[kind] for kind in kinds], chosen


def near_frames(row, frames, length, kept, k):
    """Which of the kept rows of a video are around the frame of a row."""
    if frames <= 3:
        return kept
    window = max(min(k, len(kept)), math.ceil(3 * len(kept) / frames))
    before = sum(other < row // length * length + length // 2 for other in kept)
    first = min(max(before - window // 2, 0), len(kept) - window)
    return kept[first : first + window]


@check(seeds, videos(), st.integers(1, 6), st.integers(1, 200))
def test_neighbors_in_few_frames(seed, sizes_and_chosen, k, memory_budget):
    sizes, chosen = sizes_and_chosen
    lengths = [frames * length for frames, length in sizes]
    rows, first = normal(seed, sum(lengths), 4), [sum(lengths[:i]) for i in range(len(lengths))]
    kept = torch.tensor([f + row for f, own in zip(first, chosen, strict=True) for row in own])
    removed = torch.tensor([x for x in range(len(rows)) if x not in kept], dtype=torch.int64)
    counts = [len(own) for own in chosen]
    found = nearest_neighbors(
        rows[removed],
        rows[kept],
        [n - k for n, k in zip(lengths, counts, strict=True)],
        counts,
        k,
        Frames([frames for frames, _ in sizes], removed, kept),
        memory_budget,
    )
    for number, row in enumerate(removed.tolist()):
        item = max(i for i, start in enumerate(first) if start <= row)
        near = near_frames(row - first[item], *sizes[item], chosen[item], k)
        candidates = rows[torch.tensor(near) + first[item]]
        indices = found.indices[number]
        if found.weights is not None:
            indices = indices[found.weights[number] > 0]
        assert set(kept[indices].tolist()) <= {first[item] + other for other in near}
        assert len(set(indices.tolist())) == len(indices)
        distances = (rows[row] - rows[kept[indices]]).norm(dim=-1).sort().values
        expected = torch.tensor(nearest(rows[row, None], candidates, k)[0])
        torch.testing.assert_close(distances, expected, atol=1e-4, rtol=1e-4)


def test_distances_stay_within_the_memory_budget(monkeypatch):
    sizes = []
    compute = torch.baddbmm

    def record(*args, **kwargs):
        distances = compute(*args, **kwargs)
        sizes.append(distances.numel() * distances.element_size())
        return distances

    monkeypatch.setattr(torch, "baddbmm", record)
    states = normal(0, 4 * 30, 4)
    nearest_neighbors(states, states, [30] * 4, [30] * 4, 2, memory_budget=1000)
    assert max(sizes) <= 1000
    assert sum(sizes) == 4 * 30 * 30 * 4


def test_the_memory_budget_can_be_set(monkeypatch):
    states, budgets = normal(0, 30, 4), []
    compute = neighbors._nearest
    monkeypatch.setattr(
        neighbors, "_nearest", lambda *args: budgets.append(args[-1]) or compute(*args)
    )
    monkeypatch.setattr(ops, "NEIGHBOR_MEMORY_BUDGET", 500)
    nearest_neighbors(states, states, [30], [30], 2)
    assert budgets == [500]


@pytest.mark.parametrize("offset", [0, 1000])
def test_neighbors_in_bfloat16_are_as_near(monkeypatch, offset):
    """What an accelerator searches in: other neighbours may be found, but none farther away."""
    monkeypatch.setattr(neighbors, "_distance_dtype", lambda states: torch.bfloat16)
    removed, kept = normal(0, 200, 64), normal(1, 100, 64)
    found = nearest_neighbors(removed + offset, kept + offset, [200], [100], 5).indices
    actual = (removed[:, None] - kept[found]).norm(dim=-1).mean(1)
    best = torch.cdist(removed, kept).topk(5, largest=False).values.mean(1)
    assert not torch.equal(
        found.sort().values, torch.cdist(removed, kept).topk(5, largest=False).indices.sort().values
    )
    torch.testing.assert_close(actual, best, atol=0, rtol=2e-2)


@check(seeds, st.integers(1, 20))
def test_neighbors_far_from_the_origin(seed, rows):
    """States of real encoders share a large offset; distances must not drown in it."""
    removed, kept = normal(seed, 2, rows, 4)
    distances = nearest(removed, kept, 1)
    found = nearest_neighbors(removed + 1000, kept + 1000, [rows], [rows], 1)
    actual = (removed - kept[found.indices[:, 0]]).norm(dim=-1, keepdim=True)
    torch.testing.assert_close(actual, torch.tensor(distances), atol=2e-2, rtol=0)


@check(seeds, groups(minimum=1), st.integers(1, 12))
def test_reconstruction(seed, lengths_and_counts, num_neighbors):
    lengths, counts = lengths_and_counts
    removed_lengths = [n - k for n, k in zip(lengths, counts, strict=True)]
    removed, kept = normal(seed, sum(removed_lengths), 3), normal(seed + 1, sum(counts), 3)
    found = nearest_neighbors(removed, kept, removed_lengths, counts, num_neighbors)
    reconstruct = Reconstruction(removed, kept, found)
    torch.testing.assert_close(reconstruct(kept), removed)  # nothing moved yet
    now = normal(seed + 2, *kept.shape)
    for row, rebuilt in enumerate(reconstruct(now)):
        indices = found.indices[row]
        if found.weights is not None:
            indices = indices[found.weights[row] > 0]
        changes = torch.stack([now[j] - kept[j] for j in indices])
        torch.testing.assert_close(rebuilt, removed[row] + changes.mean(0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("counts", [[2, 2], [2, 1]], ids=["even", "ragged"])
def test_reconstruction_keeps_the_dtype(dtype, counts):
    removed, kept = normal(0, 4, 3).to(dtype), normal(1, sum(counts), 3).to(dtype)
    found = nearest_neighbors(removed, kept, [2, 2], counts, 2)
    rebuilt = Reconstruction(removed, kept, found)(kept)
    assert rebuilt.dtype == dtype
    torch.testing.assert_close(rebuilt, removed, atol=2e-2, rtol=2e-2)


def test_weighted_neighbors():
    found = Neighbors(torch.tensor([[0, 2]]), torch.tensor([[0.25, 0.75]]))
    kept = torch.tensor([[4.0], [9.0], [8.0]])
    assert found.combine(kept).tolist() == [[7.0]]
