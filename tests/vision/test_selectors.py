"""The rules for what is kept: against loops, on grids whose answer is known, and in isolation."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from ipcv import IPCV
from ipcv.vision.selectors import SELECTORS
from tests.vision.layouts import packed, tiles

METHODS = {name: IPCV(reduction_ratio=0.6, selector=name) for name in SELECTORS}
each = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
BLIND = [METHODS["random"], METHODS["uniform"]]


def kept(method, before, after, layout):
    return method.choose(before, after, layout).kept


def kept_mask(selector, ratio, *grids):
    """Per grid, bool `(t, h, w)`: which patches are kept; features are noise."""
    layout = packed(*grids)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(2, sum(layout.group_lengths), 4, generator=generator)
    found = kept(IPCV(reduction_ratio=ratio, selector=selector), *rows, layout)
    masks, positions = [torch.zeros(grid, dtype=torch.bool) for grid in grids], layout.positions()
    first = 0
    for mask, length in zip(masks, layout.group_lengths, strict=True):
        own = found[(found >= first) & (found < first + length)]
        mask[tuple(positions[own].T)] = True
        first += length
    return masks


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_difference_is_the_norm_of_the_change(dtype):
    previous, rows = torch.randn(2, 7, 5, dtype=dtype)
    expected = [math.dist(*pair) for pair in zip(previous.tolist(), rows.tolist(), strict=True)]
    scores = SELECTORS["difference"](previous, rows, packed((1, 1, 7)))
    assert scores.dtype == torch.float32
    assert scores.tolist() == pytest.approx(expected)


def test_norm_is_that_of_each_row():
    rows = torch.randn(7, 5)
    scores = SELECTORS["norm"](rows, rows, packed((1, 1, 7)))
    assert scores.tolist() == pytest.approx([math.hypot(*row) for row in rows.tolist()])


def test_uniform_quarter_and_half():
    (quarter,) = kept_mask("uniform", 0.75, (1, 8, 8))
    assert quarter.nonzero()[:, 1:].tolist() == [
        [y, x] for y in range(0, 8, 2) for x in range(0, 8, 2)
    ]
    (half,) = kept_mask("uniform", 0.5, (1, 8, 8))
    assert [(y + x) % 2 for _, y, x in half.nonzero().tolist()] == [0] * 32


@given(st.floats(0.02, 0.98), st.integers(1, 3))
def test_uniform_is_even_at_every_scale(ratio, scale):
    (mask,) = kept_mask("uniform", ratio, (1, 16, 16))
    side = 2**scale
    cells = mask[0].unfold(0, side, side).unfold(1, side, side).sum((2, 3))
    assert cells.max() - cells.min() <= 1


@given(st.floats(0.02, 0.98))
def test_uniform_is_even_over_frames(ratio):
    (mask,) = kept_mask("uniform", ratio, (8, 4, 6))
    frames = mask.sum((1, 2))
    assert frames.max() - frames.min() <= 1


def test_random_does_not_look():
    masks = [kept_mask("random", 0.5, (1, 8, 8))[0] for _ in range(2)]
    assert torch.equal(*masks)
    assert not torch.equal(masks[0], kept_mask("uniform", 0.5, (1, 8, 8))[0])


@each
def test_an_item_is_as_alone(method):
    grids = [(1, 4, 6), (1, 8, 4), (1, 4, 6), (3, 4, 4)]
    layout = packed(*grids)
    previous, rows = torch.randn(2, sum(layout.group_lengths), 4)
    found, first = kept(method, previous, rows, layout), 0
    for grid, length in zip(grids, layout.group_lengths, strict=True):
        own = found[(found >= first) & (found < first + length)] - first
        span = slice(first, first + length)
        assert own.tolist() == kept(method, previous[span], rows[span], packed(grid)).tolist()
        first += length


@each
def test_protected_rows_have_no_say(method):
    plain, special = tiles(2, 4, 6, 0), tiles(2, 4, 6, 2)
    before, after = torch.randn(2, 48, 4)
    wide = torch.full((2, 2, 26, 4), 1e3)
    wide[:, :, 2:] = torch.stack([before, after]).view(2, 2, 24, 4)
    expected = kept(method, before, after, plain).view(2, -1)
    found = kept(method, *wide.flatten(1, 2), special).view(2, -1)[:, 2:]
    if method is not METHODS["random"]:  # noise for another length
        assert torch.equal(found % 26 - 2, expected % 24)


@each
def test_padding_has_no_say(method):
    if method in BLIND:
        pytest.skip("does not look at what rows hold")
    is_padding = torch.zeros(2, 24, dtype=torch.bool)
    is_padding[0, 13:], is_padding[1, [3, 4, 5, 9, 10, 11]] = True, True
    layout = tiles(2, 4, 6, 0, is_padding.flatten())
    before, after = torch.randn(2, 48, 4)
    noise = torch.randn(2, 48, 4) * 100
    other = torch.where(is_padding.view(-1, 1), noise, torch.stack([before, after]))
    found = kept(method, before, after, layout)
    assert not is_padding.flatten()[found].any()
    assert torch.equal(found, kept(method, *other, layout))


@each
def test_equal_rows_in_half_precision_are_chosen_evenly(method):
    rows = torch.ones(1 + 16 * 16, 4, dtype=torch.bfloat16)
    found = kept(method, rows, rows, tiles(1, 16, 16, 1))
    assert len(found) == 1 + 102
    assert found[0] == 0
    if method is not METHODS["random"]:
        mask = torch.zeros(256).index_fill_(0, found[1:] - 1, 1.0).view(16, 16)
        quarters = mask.unfold(0, 8, 8).unfold(1, 8, 8).sum((2, 3))
        assert quarters.max() - quarters.min() <= 6


@each
def test_not_finite_rows_stay_in_their_item(method):
    layout = packed((1, 4, 4), (1, 8, 8))
    before, after = torch.randn(2, 80, 4)
    expected = kept(method, before, after, layout)
    after[:16] = torch.nan
    found = kept(method, before, after, layout)
    assert torch.equal(found[found >= 16], expected[expected >= 16])
