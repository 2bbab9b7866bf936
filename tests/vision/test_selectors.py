"""The rules for what is kept, on grids whose answer is known."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from ipcv import IPCV
from ipcv.vision.adapters.packed import grid_positions
from ipcv.vision.selection import Layout, choose
from ipcv.vision.selectors import SELECTORS


def layout_of(*grids):
    lengths = tuple(t * h * w for t, h, w in grids)
    return Layout(lengths, lengths, lambda: grid_positions(grids, 2, torch.device("cpu")))


def kept_mask(selector, ratio, *grids):
    """Per grid, bool `(t, h, w)`: which patches are kept; features are noise."""
    layout = layout_of(*grids)
    generator = torch.Generator().manual_seed(0)
    previous, rows = torch.randn(2, sum(layout.group_lengths), 4, generator=generator)
    method = IPCV(reduction_ratio=ratio, selector=selector)
    kept = choose(previous, rows, layout, method).kept
    masks, positions = [torch.zeros(grid, dtype=torch.bool) for grid in grids], layout.positions()
    first = 0
    for mask, length in zip(masks, layout.group_lengths, strict=True):
        own = kept[(kept >= first) & (kept < first + length)]
        mask[tuple(positions[own].T)] = True
        first += length
    return masks


def test_difference_is_the_norm_of_the_change():
    previous, rows = torch.randn(2, 7, 5)
    expected = [
        sum((a - b) ** 2 for a, b in zip(*pair, strict=True)) ** 0.5
        for pair in zip(previous.tolist(), rows.tolist(), strict=True)
    ]
    scores = SELECTORS["difference"](previous, rows, layout_of((1, 1, 7)))
    assert scores.tolist() == pytest.approx(expected)


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


@pytest.mark.parametrize("selector", SELECTORS)
def test_an_item_is_as_alone(selector):
    grids = [(1, 4, 6), (1, 8, 4), (1, 4, 6), (3, 4, 4)]
    layout = layout_of(*grids)
    previous, rows = torch.randn(2, sum(layout.group_lengths), 4)
    method = IPCV(reduction_ratio=0.6, selector=selector)
    kept, first = choose(previous, rows, layout, method).kept, 0
    for grid, length in zip(grids, layout.group_lengths, strict=True):
        own = kept[(kept >= first) & (kept < first + length)] - first
        span = slice(first, first + length)
        alone = choose(previous[span], rows[span], layout_of(grid), method).kept
        assert own.tolist() == alone.tolist()
        first += length


def test_random_does_not_look():
    masks = [kept_mask("random", 0.5, (1, 8, 8))[0] for _ in range(2)]
    assert torch.equal(*masks)
    assert not torch.equal(masks[0], kept_mask("uniform", 0.5, (1, 8, 8))[0])
