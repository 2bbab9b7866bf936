"""Predictive coding: against plain loops on grids, and through a whole encoder."""

import math
from functools import partial

import pytest
import torch

import ipcv
from ipcv.baselines import DropCopies, PixelPrune, RunLength
from ipcv.vision.adapters.packed import grid_positions
from ipcv.vision.layout import Layout
from tests.vision.adapters.families import FAMILIES, build
from tests.vision.adapters.test_families import captured, flat
from tests.vision.layouts import tiles

GRIDS = [(1, 4, 6), (3, 4, 4), (1, 5, 7), (2, 1, 3)]
METHODS = [PixelPrune(0.5), RunLength(0.4), PixelPrune(0.97), RunLength(0.9)]
each = pytest.mark.parametrize("method", METHODS, ids=str)


def layout_of(*grids):
    """Images and videos, unit after unit where all can be divided."""
    side = 1 if any(size % 2 for grid in grids for size in grid[1:]) else 2
    lengths, frames = tuple(map(math.prod, grids)), tuple(grid[0] for grid in grids)
    positions = partial(grid_positions, grids, side, torch.device("cpu"))
    return Layout(lengths, lengths, positions, frames=frames)


def quantized(seed, count):
    """Few values, so that some units are equal."""
    return torch.randint(0, 2, (count, 3), generator=torch.Generator().manual_seed(seed)).float()


def plain_units(places):
    units = {}
    for i, (t, y, x) in enumerate(places):
        units.setdefault((t, y // 2, x // 2), []).append(i)
    return units


def plain_predictions(rows, places, shifts):
    """Per unit its error, and per row what predicts it."""
    at = {tuple(place): i for i, place in enumerate(places)}
    errors, source = {}, {}
    for unit, members in plain_units(places).items():
        errors[unit] = float("inf")
        for shift in shifts:
            earlier = [
                at.get(tuple(a - b for a, b in zip(places[i], shift, strict=True))) for i in members
            ]
            if None in earlier:
                continue
            pairs = zip(members, earlier, strict=True)
            error = max(float((rows[i] - rows[j]).norm()) for i, j in pairs)
            if error < errors[unit]:
                errors[unit] = error
                source |= dict(zip(members, earlier, strict=True))
    return errors, source


@each
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_choice_and_copies(grid, method):
    layout = layout_of(grid)
    rows, places = quantized(0, layout.item_lengths[0]), layout.positions().tolist()
    choice = method.choose(rows, rows, layout)
    kept, removed = choice.kept.tolist(), choice.removed.tolist()
    errors, source = plain_predictions(rows, places, method.shifts)
    units = plain_units(places)
    unit_of = {i: unit for unit, members in units.items() for i in members}
    split = [u for u, members in units.items() if 0 < len(set(members) & set(kept)) < len(members)]
    assert len(split) <= (0 if grid[1] % 2 == grid[2] % 2 == 0 else 1)
    if removed and not choice.keeps_all:
        worst_gone = max(errors[unit_of[i]] for i in removed)
        assert worst_gone <= min(errors[unit_of[i]] for i in kept)
        assert worst_gone < float("inf")
    after = torch.randn(len(kept), 3)
    restored = method.select(choice, rows).restore(after)
    assert torch.equal(restored[kept], after)
    for i in removed:
        j = i
        while j in removed:
            j = source[j]
        assert torch.equal(restored[i], after[kept.index(j)])


@each
def test_counts(method):
    """As many units as the ratio says, but all that nothing predicts."""
    for grid in GRIDS[:2]:
        layout = layout_of(grid)
        rows = torch.randn(layout.item_lengths[0], 3)
        units = grid[0] * grid[1] * grid[2] // 4
        wanted = max(1, int(units * (1 - method.reduction_ratio)))
        least = grid[0] if isinstance(method, PixelPrune) else units // grid[0]
        assert method.choose(rows, rows, layout).counts == [4 * max(wanted, least)]


@each
def test_other_items_do_not_matter(method):
    grids = [(3, 4, 4), (1, 4, 6), (1, 6, 4), (1, 4, 6)]
    together = layout_of(*grids)
    rows = quantized(1, sum(together.item_lengths))
    parts = rows.split(list(together.item_lengths))
    choice = method.choose(rows, rows, together)
    restored = (
        method.select(choice, rows).restore(rows[choice.kept]).split(list(together.item_lengths))
    )
    for part, own, grid in zip(parts, restored, grids, strict=True):
        alone = method.choose(part, part, layout_of(grid))
        expected = method.select(alone, part).restore(part[alone.kept])
        assert torch.equal(own, expected)


def test_a_large_image_in_front_does_not_matter():
    method, own = PixelPrune(0.5), (1, 8, 8)
    for shape in ((1, 182, 182), (1, 256, 256)):  # beyond 2^15 and to 2^16 rows
        first = math.prod(shape)
        rows = quantized(3, first + 64)
        kept = method.choose(rows, rows, layout_of(shape, own)).kept
        alone = method.choose(rows[first:], rows[first:], layout_of(own)).kept
        assert torch.equal(kept[kept >= first] - first, alone)


def test_protected_rows_and_padding_have_no_part():
    padding = torch.zeros(2, 17, dtype=torch.bool)
    padding[1, 13:] = True
    layout = tiles(2, 4, 4, protected=1, padding=padding.flatten())
    rows = quantized(2, 34)
    kept = PixelPrune(0.5).choose(rows, rows, layout).kept.tolist()
    assert {0, 17} <= set(kept)
    assert not set(kept) & {30, 31, 32, 33}
    rows[padding.flatten()] = float("nan")
    assert PixelPrune(0.5).choose(rows, rows, layout).kept.tolist() == kept


def test_rows_that_are_not_finite():
    layout = layout_of((1, 4, 4))
    rows = torch.full((16, 3), float("nan"))
    choice = PixelPrune(0.5).choose(rows, rows, layout)
    assert len(choice.kept) == 8
    assert PixelPrune(0.5).select(choice, rows).restore(rows[choice.kept]).shape == rows.shape


@pytest.mark.parametrize("method", [PixelPrune(0.5), RunLength(0.5)], ids=str)
def test_encoder(method):
    """Only what stays goes through the blocks, and the language model may go without the copies."""
    model, inputs = build("qwen2_vl"), FAMILIES["qwen2_vl"].inputs(build("qwen2_vl"), [["video"]])
    drop = DropCopies(method.reduction_ratio)
    with torch.no_grad(), ipcv.compress(model, method, drop) as handle, captured(model) as call:
        model(**inputs)
    (item,) = handle.stats.calls[-1].items
    assert set(item.tokens_per_block) == {item.kept} == {item.patches // 2}
    (kept_patches,) = handle.stats.calls[-1].kept_indices
    (kept_tokens,) = handle.stats.prefills[0].kept_indices
    assert kept_tokens.tolist() == (kept_patches[::4] // 4).tolist()
    states = flat(call["last"]).view(-1, 4, flat(call["last"]).shape[-1])
    assert len(states.unique(dim=0)) == len(kept_tokens)
