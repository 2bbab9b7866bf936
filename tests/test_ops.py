"""Every tensor function against loops, on random shapes and values."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ipcv import ops


def check(*strategies):
    quick = settings(deadline=None, max_examples=60)
    return lambda test: quick(given(*strategies)(test))


seeds = st.integers(0, 2**32 - 1)
ratios = st.floats(0, 0.999)


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def split(lengths):
    """Row numbers of every group."""
    return [rows.tolist() for rows in torch.arange(sum(lengths)).split(list(lengths))]


@st.composite
def groups(draw, minimum=0):
    """Lengths of some groups, and how many rows of each are kept."""
    lengths = draw(st.lists(st.integers(max(minimum, 1), 9), min_size=1, max_size=5))
    return lengths, [draw(st.integers(minimum, length)) for length in lengths]


@check(seeds, st.integers(1, 6), st.integers(1, 5))
def test_feature_difference(seed, rows, channels):
    before, after = normal(seed, 2, rows, channels)
    expected = [
        sum((x - y) ** 2 for x, y in zip(*r, strict=True)) ** 0.5
        for r in zip(before.tolist(), after.tolist(), strict=True)
    ]
    torch.testing.assert_close(ops.feature_difference(before, after), torch.tensor(expected))


def test_feature_difference_does_not_overflow_in_half_precision():
    before = torch.zeros(1, 4096, dtype=torch.float16)
    difference = ops.feature_difference(before, before + 6e4)
    assert difference.dtype == torch.float32
    torch.testing.assert_close(difference, torch.tensor([6e4 * 64.0]), rtol=1e-3, atol=0)


@check(st.integers(1, 10_000), ratios)
def test_keep_count(length, ratio):
    count = ops.keep_count(length, ratio)
    assert 1 <= count <= length
    assert count in (1, int(length * (1 - ratio)))


@check(groups(), st.data())
def test_select_top(lengths_and_counts, data):
    lengths, counts = lengths_and_counts
    number = sum(lengths)
    values = st.integers(-3, 3).map(float)  # many ties
    scores = data.draw(st.lists(values, min_size=number, max_size=number))
    kept, removed = ops.select_top(torch.tensor(scores), lengths, counts)
    expected = []
    for rows, count in zip(split(lengths), counts, strict=True):
        expected += sorted(sorted(rows, key=lambda row: (-scores[row], row))[:count])
    assert kept.tolist() == expected
    assert removed.tolist() == [row for row in range(number) if row not in expected]
    assert kept.dtype == removed.dtype == torch.int64


def test_select_top_orders_infinities():
    scores = torch.tensor([-torch.inf, 1.0, torch.inf, -torch.inf, 0.0])
    assert ops.select_top(scores, [5], [3])[0].tolist() == [1, 2, 4]


def nearest(removed, kept, num_neighbors):
    """Distances to the nearest kept rows, ascending, for each removed row."""
    return [sorted(float((r - k).norm()) for k in kept)[:num_neighbors] for r in removed]


@check(seeds, groups(minimum=1), st.integers(1, 12), st.integers(1, 200))
def test_nearest_neighbors(seed, lengths_and_counts, num_neighbors, memory_budget):
    lengths, counts = lengths_and_counts
    removed_lengths = [n - k for n, k in zip(lengths, counts, strict=True)]
    removed, kept = normal(seed, sum(removed_lengths), 4), normal(seed + 1, sum(counts), 4)
    found = ops.nearest_neighbors(
        removed, kept, removed_lengths, counts, num_neighbors, memory_budget
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


def test_distances_stay_within_the_memory_budget(monkeypatch):
    sizes = []
    compute = torch.baddbmm

    def record(*args, **kwargs):
        distances = compute(*args, **kwargs)
        sizes.append(distances.numel() * distances.element_size())
        return distances

    monkeypatch.setattr(torch, "baddbmm", record)
    states = normal(0, 4 * 30, 4)
    ops.nearest_neighbors(states, states, [30] * 4, [30] * 4, 2, memory_budget=1000)
    assert max(sizes) <= 1000
    assert sum(sizes) == 4 * 30 * 30 * 4


def test_the_memory_budget_can_be_set(monkeypatch):
    states, budgets = normal(0, 30, 4), []
    compute = ops._nearest
    monkeypatch.setattr(ops, "_nearest", lambda *args: budgets.append(args[-1]) or compute(*args))
    monkeypatch.setattr(ops, "NEIGHBOR_MEMORY_BUDGET", 500)
    ops.nearest_neighbors(states, states, [30], [30], 2)
    assert budgets == [500]


@pytest.mark.parametrize("offset", [0, 1000])
def test_neighbors_in_bfloat16_are_as_near(monkeypatch, offset):
    """What an accelerator searches in: other neighbours may be found, but none farther away."""
    monkeypatch.setattr(ops, "_distance_dtype", lambda states: torch.bfloat16)
    removed, kept = normal(0, 200, 64), normal(1, 100, 64)
    found = ops.nearest_neighbors(removed + offset, kept + offset, [200], [100], 5).indices
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
    found = ops.nearest_neighbors(removed + 1000, kept + 1000, [rows], [rows], 1)
    actual = (removed - kept[found.indices[:, 0]]).norm(dim=-1, keepdim=True)
    torch.testing.assert_close(actual, torch.tensor(distances), atol=2e-2, rtol=0)


@check(seeds, groups(minimum=1), st.integers(1, 12))
def test_reconstruction(seed, lengths_and_counts, num_neighbors):
    lengths, counts = lengths_and_counts
    removed_lengths = [n - k for n, k in zip(lengths, counts, strict=True)]
    removed, kept = normal(seed, sum(removed_lengths), 3), normal(seed + 1, sum(counts), 3)
    neighbors = ops.nearest_neighbors(removed, kept, removed_lengths, counts, num_neighbors)
    reconstruct = ops.Reconstruction(removed, kept, neighbors)
    torch.testing.assert_close(reconstruct(kept), removed)  # nothing moved yet
    now = normal(seed + 2, *kept.shape)
    for row, rebuilt in enumerate(reconstruct(now)):
        indices = neighbors.indices[row]
        if neighbors.weights is not None:
            indices = indices[neighbors.weights[row] > 0]
        changes = torch.stack([now[j] - kept[j] for j in indices])
        torch.testing.assert_close(rebuilt, removed[row] + changes.mean(0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("counts", [[2, 2], [2, 1]], ids=["even", "ragged"])
def test_reconstruction_keeps_the_dtype(dtype, counts):
    removed, kept = normal(0, 4, 3).to(dtype), normal(1, sum(counts), 3).to(dtype)
    neighbors = ops.nearest_neighbors(removed, kept, [2, 2], counts, 2)
    rebuilt = ops.Reconstruction(removed, kept, neighbors)(kept)
    assert rebuilt.dtype == dtype
    torch.testing.assert_close(rebuilt, removed, atol=2e-2, rtol=2e-2)


def test_weighted_neighbors():
    neighbors = ops.Neighbors(torch.tensor([[0, 2]]), torch.tensor([[0.25, 0.75]]))
    kept = torch.tensor([[4.0], [9.0], [8.0]])
    assert neighbors.combine(kept).tolist() == [[7.0]]


@check(seeds, groups())
def test_merge_rows(seed, lengths_and_counts):
    lengths, counts = lengths_and_counts
    rows = normal(seed, sum(lengths), 2)
    kept, removed = ops.select_top(rows[:, 0], lengths, counts)
    assert torch.equal(ops.merge_rows(rows[kept], rows[removed], kept, removed), rows)


@check(seeds, st.integers(1, 5), st.integers(1, 3), st.integers(1, 4))
def test_rotate(seed, rows, heads, half):
    states, angles = normal(seed, rows, heads, 2 * half), normal(seed + 1, rows, half)
    cos, sin = (torch.cat([x, x], dim=-1) for x in (angles.cos(), angles.sin()))
    expected = torch.empty_like(states)
    for row in range(rows):
        for i in range(half):
            x, y = states[row, :, i], states[row, :, half + i]
            c, s = angles[row, i].cos(), angles[row, i].sin()
            expected[row, :, i], expected[row, :, half + i] = x * c - y * s, y * c + x * s
    torch.testing.assert_close(ops.rotate(states, cos, sin), expected)
    assert ops.rotate(states.bfloat16(), cos, sin).dtype == torch.bfloat16
