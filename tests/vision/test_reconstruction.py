"""What rebuilds a removed row, against loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ipcv.vision.reconstruction import RECONSTRUCTORS, Partition

LOCATED = {"linear"}


def split(seed, removed_lengths, kept_lengths, channels=5):
    generator = torch.Generator().manual_seed(seed)
    counts = sum(removed_lengths), sum(kept_lengths)
    states = [torch.randn(n, channels, generator=generator) for n in counts]
    places = [torch.randint(0, 9, (n, 3), generator=generator) for n in counts]
    return Partition(*states, removed_lengths, kept_lengths, lambda: tuple(places))


def spread(rows):
    center = rows.mean(0)
    return math.sqrt(sum(float((row - center).square().sum()) for row in rows) / len(rows))


def located(removed, kept, removed_places, kept_places):
    """Features with positions beside them, of one item."""
    factor = 0.5 * spread(kept) / max(spread(kept_places), 1e-6)
    return [
        [row.tolist() + (place * factor).tolist() for row, place in zip(*pair, strict=True)]
        for pair in ((removed, removed_places), (kept, kept_places))
    ]


def plain_weights(name, row, neighbors):
    squares = [math.dist(row, other) ** 2 for other in neighbors]
    if name == "linear":
        z = torch.tensor(neighbors, dtype=torch.float64) - torch.tensor(row, dtype=torch.float64)
        gram = z @ z.T
        ridge = 0.01 * sum(squares) / len(squares)
        weights = (gram + ridge * torch.eye(len(gram))).inverse().sum(1)
        return (weights / weights.sum()).tolist()
    return [1 / len(neighbors)] * len(neighbors)


lengths = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), min_size=1, max_size=4)


@pytest.mark.parametrize("name", sorted(set(RECONSTRUCTORS) - {"none"}))
@given(lengths, st.integers(1, 7), st.integers(0, 1000))
def test_equals_loops(name, pairs, num_neighbors, seed):
    removed_lengths, kept_lengths = map(list, zip(*pairs, strict=True))
    whole = split(seed, removed_lengths, kept_lengths)
    found = RECONSTRUCTORS[name](whole, num_neighbors)
    result = torch.zeros(sum(removed_lengths), sum(kept_lengths))
    if found.weights is None:
        weights = torch.full(found.indices.shape, 1 / found.indices.shape[1])
    else:
        weights = found.weights
    result.scatter_add_(1, found.indices, weights)
    expected, row, first = torch.zeros_like(result), 0, 0
    for num_removed, num_kept in pairs:
        rows, own = slice(row, row + num_removed), slice(first, first + num_kept)
        removed, kept = whole.removed[rows].tolist(), whole.kept[own].tolist()
        if name in LOCATED:
            places = [p.float() for p in whole.positions()]
            removed, kept = located(
                whole.removed[rows], whole.kept[own], places[0][rows], places[1][own]
            )
        for i, state in enumerate(removed):
            near = sorted(range(num_kept), key=lambda j: math.dist(state, kept[j]))[:num_neighbors]
            own_weights = plain_weights(name, state, [kept[j] for j in near])
            for j, weight in zip(near, own_weights, strict=True):
                expected[row + i, first + j] = weight
        row, first = rows.stop, own.stop
    torch.testing.assert_close(result, expected, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("name", sorted(RECONSTRUCTORS))
def test_an_item_is_as_alone(name):
    both = split(0, [4, 6], [3, 5])
    places = both.positions()
    neighbors = RECONSTRUCTORS[name](both, 4)
    for rows, own in ((slice(0, 4), slice(0, 3)), (slice(4, 10), slice(3, 8))):
        alone = Partition(
            both.removed[rows],
            both.kept[own],
            [rows.stop - rows.start],
            [own.stop - own.start],
            lambda rows=rows, own=own: (places[0][rows], places[1][own]),
        )
        expected = RECONSTRUCTORS[name](alone, 4).combine(alone.kept)
        torch.testing.assert_close(
            neighbors.combine(both.kept)[rows], expected, atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("name", sorted(RECONSTRUCTORS))
def test_chunks_change_nothing(name, monkeypatch):
    rows = split(1, [7, 5], [6, 3])
    expected = RECONSTRUCTORS[name](rows, 4).combine(rows.kept)
    monkeypatch.setattr("ipcv.core.ops.NEIGHBOR_MEMORY_BUDGET", 300)
    found = RECONSTRUCTORS[name](rows, 4).combine(rows.kept)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(RECONSTRUCTORS))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_equal_rows_in_half_precision(name, dtype):
    same = torch.ones(6, 4, dtype=dtype)
    rows = Partition(same, same, [6], [6], lambda: (torch.zeros(6, 3), torch.zeros(6, 3)))
    found = RECONSTRUCTORS[name](rows, 3)
    expected = torch.zeros_like(same) if name == "none" else same
    torch.testing.assert_close(found.combine(same), expected, atol=1e-2, rtol=1e-2)


def test_weights_find_the_combination():
    kept = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    removed = torch.tensor([[1.0, 1.0], [3.0, -1.0]])
    rows = Partition(removed, kept, [2], [3], lambda: (torch.zeros(2, 3), torch.zeros(3, 3)))
    rebuilt = RECONSTRUCTORS["linear"](rows, 3).combine(kept)
    torch.testing.assert_close(rebuilt, removed, atol=0.05, rtol=0)


@pytest.mark.parametrize("name", sorted(RECONSTRUCTORS))
def test_not_finite_rows_stay_in_their_item(name):
    """Also where a small item has fewer rows than neighbours are asked for."""
    rows = split(0, [4, 6], [3, 8])
    expected = RECONSTRUCTORS[name](rows, 5).combine(rows.kept)[:4]
    first_is_not = split(0, [4, 6], [3, 8])
    first_is_not.kept[3:], first_is_not.removed[4:] = torch.nan, torch.inf
    found = RECONSTRUCTORS[name](first_is_not, 5).combine(first_is_not.kept)[:4]
    torch.testing.assert_close(found, expected)
    last_is_not = split(0, [4, 6], [8, 3])
    expected = RECONSTRUCTORS[name](last_is_not, 5).combine(last_is_not.kept)[4:]
    last_is_not.kept[:8], last_is_not.removed[:4] = torch.nan, torch.inf
    found = RECONSTRUCTORS[name](last_is_not, 5).combine(last_is_not.kept)[4:]
    torch.testing.assert_close(found, expected)
