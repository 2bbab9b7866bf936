"""Adaptive pruning against loops over single tokens, in all families."""

import math
from copy import deepcopy
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ipcv
from ipcv import Adaptive
from ipcv.families import adapter_for
from ipcv.vision import pairing, steps
from ipcv.vision.layout import Layout
from ipcv.vision.matching import beside_places, match, smooth
from ipcv.vision.pairing import Pairs
from tests.vision.adapters.families import FAMILIES, build
from tests.vision.adapters.reference import batched_runner, packed_runner
from tests.vision.adapters.test_families import (
    CASES,
    assert_close,
    captured,
    families,
    flat,
    identical,
    matrix,
    prompt,
)
from tests.vision.test_reconstruction import located, plain_weights
from tests.vision.test_tome import plain_match

TWINS = [(0, 0.4), (1, 0.25), (1, 0.2), (2, 0.15)]
"""In an encoder of 4 blocks: which block removes what share of the twins."""


def plain_beside(keys, places):
    """Unit keys, and the angles of rows and columns, token by token."""
    extent = 1 + max(max(place[1:]) for place in places.tolist())
    rows = []
    for key, (_, *place) in zip(keys.tolist(), places.tolist(), strict=True):
        angles = [2.4 * x / extent for x in place]
        norm = math.hypot(*key)
        circles = [0.3 * f(angle) for f in (math.cos, math.sin) for angle in angles]
        rows.append([x / norm for x in key] + circles)
    return torch.tensor(rows)


def plain_smoothest(states, places, count, protected):
    """What goes before the first block, and the first patch of its cell, which stands for it."""
    cells = [None] * protected + [(f, y // 2, x // 2) for f, y, x in places[protected:].tolist()]
    first = {i: cells.index(c) for i, c in enumerate(cells) if c and cells.index(c) != i}
    order = sorted(first, key=lambda i: (float((states[i] - states[first[i]]).norm()), i))
    return {i: first[i] for i in order[:count]}


def plain_smooth_cost(states, places, i, j, protected):
    """The distance in units of the root mean square of all patches' lengths."""
    lengths = [float(state.norm()) for state in states[protected:]]
    return float((states[i] - states[j]).norm()) / math.sqrt(
        sum(length**2 for length in lengths) / len(lengths)
    )


def plain_twins(keys, places, count, protected):
    """What goes before another block, and the token with the most similar key and place."""
    return plain_match(plain_beside(keys, places), count, protected)


def plain_twin_cost(keys, places, i, j, protected):
    """Half the distance between the two vectors of length one."""
    a, b = (x.double() / x.double().norm() for x in plain_beside(keys, places)[[i, j]])
    return float((a - b).norm()) / 2


def plain_likeness(features, i, j, protected):
    """1 for equal ones, 0 for unlike ones, as seen from the middle of all patches."""
    a, b = ((features[x] - features[protected:].mean(0)).double() for x in (i, j))
    return max(0.0, 1 - float((a - b).square().sum() / (a.square().sum() + b.square().sum())))


def plain_keys(block, states):
    """Mean over heads of the keys of a block's attention, whose parts are found by their names."""

    def part(module, *names):
        return next(getattr(module, name) for name in names if hasattr(module, name))

    attention = part(block, "attn", "self_attn", "attention")
    normed = part(block, "norm1", "layer_norm1", "layernorm_before")(states)
    if hasattr(attention, "qkv"):
        key = attention.qkv(normed).chunk(3, -1)[1]
        return key.unflatten(-1, (attention.num_heads, -1)).mean(1)
    key = getattr(attention, "k_norm", torch.nn.Identity())(attention.k_proj(normed))
    return key.unflatten(-1, (-1, attention.head_dim)).mean(1)


def groups_of(item):
    """Rows of frames and tiles, within which patches compete."""
    for group in item.groups:
        yield from group.chunk(item.frames)


class PlainGroup:
    """Rows `(n,)` that compete, at `places (n, 3)`, and what is left of them on the way.

    What stands for others goes into attention as often as it stands, or as far as `likeness` says.
    """

    def __init__(self, states, rows, places, protected, likeness=lambda *_: 1):
        self.states, self.rows, self.places, self.protected = states, rows, places, protected
        self.patches, self.history, self.sizes = len(rows) - protected, [], [1] * len(rows)
        self.likeness = likeness

    def remove(self, fraction, features, find, cost, tolerance):
        rows, places, sizes = self.rows, self.places, self.sizes
        count = min(round(fraction * self.patches), (len(rows) - self.protected) // 2)
        into = find(features, places, count, self.protected) if count else {}
        if tolerance is not None:
            costs = {i: cost(features, places, i, j, self.protected) for i, j in into.items()}
            into = {i: j for i, j in into.items() if costs[i] <= tolerance}
        for i, j in into.items():
            sizes[j] += sizes[i] * self.likeness(features, i, j, self.protected)
        stay = [i for i in range(len(rows)) if i not in into]
        self.history.append((self.states, stay, followed(features, places, stay, into)))
        self.sizes = [sizes[i] for i in stay]
        self.states, self.rows, self.places = self.states[stay], rows[stay], places[stay]

    def restored(self):
        states = self.states
        for before, stay, weights in reversed(self.history):
            full = torch.empty_like(before)
            full[stay] = states
            for i, own in weights.items():
                full[i] = before[i] + sum(w * (full[j] - before[j]) for j, w in own.items())
            states = full
        return states


def plain_adaptive(groups, item, method, blocks, run, keys_of=plain_keys):
    """The groups of an item through all blocks."""

    def through(index):
        rows, states = (
            torch.cat([getattr(g, name) for g in groups]) for name in ("rows", "states")
        )
        sizes = [size for group in groups for size in group.sizes]
        states = copied_through(index, states, rows, sizes, item, run)
        for group, mine in zip(groups, states.split([len(g.rows) for g in groups]), strict=True):
            group.states = mine

    plain_steps(groups, method, [partial(keys_of, block) for block in blocks], through)


def plain_steps(groups, method, keys_of, through):
    """As `plain_adaptive`, with each block's keys, which take states `through` the block."""
    smooth, tolerance = method.reduction_ratio * method.smooth_share, method.tolerance
    for group in groups:
        group.remove(smooth, group.states, plain_smoothest, plain_smooth_cost, tolerance)
    for index, keys in enumerate(keys_of):
        for _, share in (removal for removal in TWINS if removal[0] == index):
            fraction = share * (method.reduction_ratio - smooth)
            for group in groups:
                own = keys(group.states)
                group.remove(fraction, own, plain_twins, plain_twin_cost, tolerance)
        through(index)


def copied_through(index, states, rows, sizes, item, run):
    """A block on as many copies of each row as it counts for, segment by segment."""
    output = torch.empty_like(states)
    for segment in item.segments(index):
        inside = [i for i, row in enumerate(rows.tolist()) if row in set(segment.tolist())]
        if inside:
            copies = [i for i in inside for _ in range(sizes[i])]
            copied = run(index, rows[copies], states[copies])
            output[inside] = copied[[copies.index(i) for i in inside]]
    return output


def followed(features, places, stay, into):
    """Of each removed row the kept ones that it follows, with their weights."""
    if not (gone := sorted(into)):
        return {}
    own, others = located(
        features[gone], features[stay], places[gone].float(), places[stay].float()
    )
    result = {}
    for i, state in zip(gone, own, strict=True):
        near = sorted(range(len(stay)), key=lambda j: math.dist(state, others[j]))
        near = near[: steps.FOLLOWED]
        weights = plain_weights("linear", state, [others[j] for j in near])
        result[i] = {stay[j]: weight for j, weight in zip(near, weights, strict=True)}
    return result


def positions_of(model, inputs):
    """`(N, 3)`, as the adapter tells them."""
    adapter, seen = adapter_for(model), []
    layout = type(adapter).layout

    def spy(self, context, hidden_states):
        seen.append(layout(self, context, hidden_states))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(adapter), "layout", spy)
        with ipcv.compress(model, Adaptive(0.5)):
            model(**inputs)
    return seen[-1].positions()


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


def check(name, case, method, attention="sdpa"):
    """With whole sizes, as which the model's own blocks can be given copies."""
    model, inputs = prompt(name, case, attention)
    return check_model(model, inputs, FAMILIES[name].items(model, CASES[case]), method)


def check_model(model, inputs, items, method, keys_of=plain_keys):
    places = positions_of(model, inputs)
    with captured(model) as call, ipcv.compress(model, method) as handle:
        model(**inputs)
    compressed = flat(call["last"])
    with captured(model) as call:
        model(**inputs)
    arguments, blocks = call["arguments"], adapter_for(model).blocks
    runner = packed_runner if "cu_seqlens" in arguments else batched_runner
    run, start = runner(blocks, arguments), flat(arguments["hidden_states"])
    places = flat(adapter_for(model).like(places, arguments["hidden_states"]))
    for item in items:
        all_rows = list(groups_of(item))
        groups = [PlainGroup(start[rows], rows, places[rows], item.protected) for rows in all_rows]
        plain_adaptive(groups, item, method, blocks, run, keys_of)
        for rows, group in zip(all_rows, groups, strict=True):
            torch.testing.assert_close(compressed[rows], group.restored(), atol=1e-4, rtol=1e-3)
    return handle.stats.calls[-1]


@pytest.fixture
def whole_sizes(monkeypatch):
    monkeypatch.setattr(pairing, "_weights", lambda states, *_: torch.ones(states.shape[:2]))


@matrix
@pytest.mark.usefixtures("whole_sizes")
def test_equals_plain_loops(name, attention, case):
    check(name, case, Adaptive(0.5), attention)


@pytest.mark.parametrize("method", [Adaptive(0.9, smooth_share=0.2), Adaptive(0.4, smooth_share=1)])
@families
@pytest.mark.usefixtures("whole_sizes")
def test_equals_plain_loops_at_other_settings(name, method):
    call = check(name, "two-sizes", method)
    for item, indices in zip(call.items, call.kept_indices, strict=True):
        assert item.kept == len(indices) == item.tokens_per_block[-1] < item.patches
        assert list(item.tokens_per_block) == sorted(item.tokens_per_block, reverse=True)


@families
@pytest.mark.usefixtures("whole_sizes")
def test_equals_plain_loops_with_a_tolerance(name):
    """Some patches go, of every item as many as its own costs allow."""
    call = check(name, "mixed-batch", Adaptive(0.75, tolerance=0.6))
    assert any(item.kept < item.patches for item in call.items)


@given(st.integers(0, 2), st.integers(0, 1000))
def test_a_row_counts_as_far_as_it_is_like_who_stands_for_it(protected, seed):
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(2, 9, 4, generator=generator).round()
    kept, destination = match(states, 3, protected)
    weights = pairing._weights(states, kept, destination, protected)
    for group in range(2):
        for i in range(9):
            j = int(kept[group, destination[group, i]])
            expected = plain_likeness(states[group], i, j, protected) if i != j else 1
            assert float(weights[group, i]) == pytest.approx(expected, abs=1e-5)


def test_sizes_add_up():
    """Over two removals of unequal groups."""
    layout = Layout((4, 2), (4, 2), lambda: torch.zeros(6, 3, dtype=torch.int64))
    rows, places = torch.randn(6, 3), torch.zeros(6, 3, dtype=torch.int64)
    pairs = Pairs(
        kept=torch.tensor([0, 3, 4, 5]),
        removed=torch.tensor([1, 2]),
        destination=torch.tensor([0, 0, 1, 1, 2, 3]),
        weight=torch.tensor([1, 0.5, 0.25, 1, 1, 1]),
        counts=[2, 2],
        gone=[2, 0],
    )
    first = steps._selection(rows, rows, places, layout, pairs, None)
    assert first.sizes.tolist() == [1.5, 1.25, 1, 1]
    pairs = Pairs(
        kept=torch.tensor([0, 2, 3]),
        removed=torch.tensor([1]),
        destination=torch.tensor([0, 0, 1, 2]),
        weight=torch.tensor([1, 0.5, 1, 1]),
        counts=[1, 2],
        gone=[1, 0],
    )
    rows = rows[first.kept]
    inner = steps._selection(rows, rows, places[:4], first.remaining(), pairs, first)
    both = first.then(inner)
    assert both.kept.tolist() == [0, 4, 5]
    assert both.counts == [1, 2]
    assert both.sizes.tolist() == [2.125, 1, 1]
    assert torch.equal(both.bias, both.sizes.log())


@pytest.mark.parametrize("case", ["two-sizes", "mixed-batch"])
@families
def test_items_do_not_see_each_other(name, case):
    model, inputs = prompt(name, case)
    items = FAMILIES[name].items(model, CASES[case])
    with captured(model) as call, ipcv.compress(model, Adaptive(0.6)):
        model(**inputs)
        together = [flat(call["last"])[torch.cat(item.groups)] for item in items]
        media = [medium for media in CASES[case] for medium in media]
        for medium, expected in zip(media, together, strict=True):
            (item,) = FAMILIES[name].items(model, [[medium]])
            model(**FAMILIES[name].inputs(model, [[medium]]))
            assert_close(flat(call["last"])[torch.cat(item.groups)], expected)


@families
def test_removal_and_ratio_0_leave_no_trace(name):
    model, inputs = prompt(name, "two-sizes")
    before = model(**inputs)[0]
    with ipcv.compress(model, Adaptive(0)) as handle:
        assert identical(model(**inputs)[0], before)
        assert all(item.kept == item.patches for item in handle.stats.calls[-1].items)
    with ipcv.compress(model, Adaptive(0.5)):
        compressed = model(**inputs)[0]
    assert compressed.shape == before.shape
    assert not identical(compressed, before)
    assert identical(model(**inputs)[0], before)


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen3_vl", "clip_vision_model", "dinov3_vit"])
def test_hidden_states_have_full_length(name):
    model, inputs = prompt(name, "two-sizes")
    encoder = adapter_for(model).encoder
    with captured(model) as call:
        model(**inputs)
    args, kwargs = call["encoder_arguments"]
    with ipcv.compress(model, Adaptive(0.5)):
        plain = encoder(*args, **kwargs).last_hidden_state
        output = encoder(*args, **kwargs | {"output_hidden_states": True, "return_dict": True})
    assert len({state.shape for state in output.hidden_states}) == 1
    assert_close(output.last_hidden_state, plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    model = deepcopy(build("dinov2"))
    inputs = FAMILIES["dinov2"].inputs(model, [["small"]])
    before = model(**inputs)[0]
    with ipcv.compress(model, Adaptive(0.5)):
        expected = model(**inputs)[0]
        output = model.to(dtype)(**inputs)[0]
    assert output.dtype == dtype
    # Other patches may go than in fp32: no further away than compression itself.
    assert (output.float() - expected).norm() < (before - expected).norm()


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2))
def test_smoothest_leaves_who_stands_for_others(rows, columns, protected):
    places = torch.cartesian_prod(*map(torch.arange, (1, rows, columns))).view(-1, 3)
    places = torch.cat([places.new_zeros(protected, 3), places])[None]
    length, r = places.shape[1], rows * columns // 2
    states = torch.randn(1, length, 4)
    kept, destination = smooth(states, places, protected).accept(length, r)
    stay, into = kept[0].tolist(), plain_smoothest(states[0], places[0], r, protected)
    assert stay == [i for i in range(length) if i not in into]
    assert [stay[j] for j in destination[0]] == [into.get(i, i) for i in range(length)]


def test_places_part_tokens_of_equal_keys():
    """The candidate is the first, which takes the nearer one of two equal counterparts."""
    keys = torch.ones(1, 4, 8)
    places = torch.tensor([[[0, 0, 0], [0, 9, 9], [0, 5, 5], [0, 0, 1]]])
    kept, destination = match(beside_places(keys, places), 1)
    assert kept.tolist() == [[1, 2, 3]]
    assert destination.tolist() == [[2, 0, 1, 2]]


def test_places_of_other_groups_do_not_matter():
    keys, places = torch.randn(2, 6, 8), torch.randint(0, 20, (2, 6, 3))
    places[1] *= 3
    together = beside_places(keys, places)
    torch.testing.assert_close(together[:1], beside_places(keys[:1], places[:1]))
    torch.testing.assert_close(together[1:], beside_places(keys[1:], places[1:]))


@pytest.mark.parametrize("tolerance", [None, 0.9])
def test_an_image_of_one_token_beside_a_large_one(tolerance):
    """Down to one patch it goes, while the other still has some to lose."""
    model = build("qwen2_vl")
    encoder = adapter_for(model).encoder
    grids, method = [[1, 2, 2], [1, 8, 8]], Adaptive(0.9, tolerance=tolerance)
    pixels = torch.randn(68, encoder.patch_embed.proj.weight[0].numel())
    with ipcv.compress(encoder, method) as handle:
        both = encoder(pixels, grid_thw=torch.tensor(grids)).last_hidden_state
        alone = encoder(pixels[:4], grid_thw=torch.tensor(grids[:1])).last_hidden_state
    assert_close(both[:4], alone)
    assert handle.stats.calls[0].items[0].kept < 4


@pytest.mark.parametrize("patches", [256, 1024])
def test_ties_are_spread_over_the_picture(patches):
    """Of a picture of one colour, as much is removed below as above."""
    side = math.isqrt(patches)
    places = torch.cartesian_prod(*map(torch.arange, (1, side, side)))[None]
    states = torch.ones(1, patches, 8)
    smoothest = smooth(states, places).accept(patches, patches // 4)
    for kept, _ in (smoothest, match(states, patches // 4)):
        above = int((kept < patches // 2).sum())
        assert abs(above - kept.shape[1] / 2) < patches / 32


@pytest.mark.parametrize("depth", [1, 4, 8, 12, 27])
def test_schedule(depth):
    removals = Adaptive(0.6, smooth_share=0.5).removals(depth)
    assert sum(removal.fraction for removal in removals) == pytest.approx(0.6)
    assert [removal.by_keys for removal in removals] == [False] + 4 * [True]
    blocks = [removal.block for removal in removals]
    assert blocks == sorted(blocks)
    assert blocks[0] == 0
    assert blocks[-1] <= depth // 2


@pytest.mark.parametrize("settings", [{"reduction_ratio": 1}, {"smooth_share": 1.1}])
def test_settings_are_checked(settings):
    with pytest.raises(ValueError, match="must be"):
        Adaptive(**settings)


def test_settings_round_trip():
    method = Adaptive(0.7, 0.3)
    assert Adaptive.from_dict(method.to_dict()) == method


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_an_image_of_one_colour(share):
    model = build("dinov2")
    with ipcv.compress(model, Adaptive(0.5, smooth_share=share)):
        assert model(pixel_values=torch.ones(1, 3, 32, 32))[0].isfinite().all()
