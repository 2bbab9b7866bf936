"""Every tensor function against loops, on random shapes and values."""

import torch
from hypothesis import strategies as st

from ipcv.core import ops
from tests.strategies import check, groups, normal, seeds, split

ratios = st.floats(0, 0.999)


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
        even = {row: place * ops.SPREAD % 2**32 for place, row in enumerate(rows)}
        expected += sorted(sorted(rows, key=lambda row: (-scores[row], even[row]))[:count])
    assert kept.tolist() == expected
    assert removed.tolist() == [row for row in range(number) if row not in expected]
    assert kept.dtype == removed.dtype == torch.int64


def test_select_top_orders_infinities():
    scores = torch.tensor([-torch.inf, 1.0, torch.inf, -torch.inf, 0.0])
    assert ops.select_top(scores, [5], [3])[0].tolist() == [1, 2, 4]


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
