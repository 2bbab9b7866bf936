"""Progressive pruning against loops over single tokens."""

import math
from copy import deepcopy
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ipcv
from ipcv import Progressive
from ipcv.families import adapter_for
from ipcv.vision.matching import smoothest
from ipcv.vision.tokens import Tokens, proportional_attention
from tests.vision.adapters.families import FAMILIES, build
from tests.vision.adapters.test_families import captured, flat, identical
from tests.vision.test_reconstruction import located, plain_weights
from tests.vision.test_tome import PARTS, plain_match


def plain_progressive(
    name, blocks, states, rows, places, method, protected, arguments, beside=lambda keys, _: keys
):
    """One segment, `(n, C)`, through all blocks; `places (n, 3)` of its rows.

    `beside(keys, places)` are what counterparts are found by.
    """
    heads, norm1, norm2, scale1, scale2 = PARTS[name]
    counts = method.removed_per_block(len(rows) - protected, len(blocks))
    sizes, positions, history = [1.0] * len(rows), rows, []
    into = plain_smoothest(states, places, method.removed_before(len(rows) - protected), protected)
    stay = [i for i in range(len(states)) if i not in into]
    history.append((states, stay, followed(states, places, stay, into, method)))
    sizes = counted(sizes, states, stay, into, protected)
    states, positions, places = states[stay], positions[stay], places[stay]
    for block, count in zip(blocks, counts, strict=True):
        scale = [getattr(block, s) if s else lambda x: x for s in (scale1, scale2)]
        normed = getattr(block, norm1)(states)
        q, k, v, keys, project = heads(block, normed, positions, arguments)
        count = min(count, (len(states) - protected) // 2)
        into = plain_match(beside(keys.mean(1), places), count, protected)
        stay = [i for i in range(len(states)) if i not in into]
        bias = torch.tensor(sizes).log()
        logits = torch.einsum("qhd,khd->hqk", q[stay], k) / math.sqrt(q.shape[-1]) + bias
        attended = torch.einsum("hqk,khd->qhd", logits.softmax(-1), v).flatten(1)
        history.append((states, stay, followed(keys.mean(1), places, stay, into, method)))
        sizes = counted(sizes, keys.mean(1), stay, into, protected)
        states = states[stay] + scale[0](project(attended))
        positions, places = positions[stay], places[stay]
        states = states + scale[1](block.mlp(getattr(block, norm2)(states)))
    for before, stay, weights in reversed(history):
        full = torch.empty_like(before)
        full[stay] = states
        for i, own in weights.items():
            full[i] = before[i] + sum(w * (full[j] - before[j]) for j, w in own.items())
        states = full
    return states


def plain_smoothest(states, places, count, protected):
    """What goes before the first block, and the first patch of its cell, which stands for it."""
    cells = [None] * protected + [(f, y // 2, x // 2) for f, y, x in places[protected:].tolist()]
    first = {i: cells.index(c) for i, c in enumerate(cells) if c and cells.index(c) != i}
    order = sorted(first, key=lambda i: (float((states[i] - states[first[i]]).norm()), i))
    return {i: first[i] for i in order[:count]}


def counted(sizes, features, stay, into, protected):
    """For how many patches those that stay count: a like one for one, an unlike one for none."""
    centered = (features - features[protected:].mean(0)).double()

    def likeness(i, j):
        a, b = centered[i], centered[j]
        return max(0.0, 1 - float((a - b).square().sum() / (a.square().sum() + b.square().sum())))

    return [sizes[i] + sum(sizes[j] * likeness(i, j) for j in into if into[j] == i) for i in stay]


def followed(features, places, stay, into, method):
    """Of each removed token the kept ones that it follows, with their weights."""
    gone = sorted(into)
    if not gone:
        return {}
    own, others = features[gone].tolist(), features[stay].tolist()
    if method.reconstruction == "linear":
        own, others = located(
            features[gone], features[stay], places[gone].float(), places[stay].float()
        )
    result = {}
    for i, state in zip(gone, own, strict=True):
        near = sorted(range(len(stay)), key=lambda j: math.dist(state, others[j]))
        near = near[: method.num_neighbors]
        weights = plain_weights(method.reconstruction, state, [others[j] for j in near])
        result[i] = {stay[j]: weight for j, weight in zip(near, weights, strict=True)}
    return result


@pytest.mark.parametrize(
    "method",
    [
        Progressive(0.5, smooth_share=0),
        Progressive(0.95, 2, "linear", smooth_share=0.3),
        Progressive(0.4, smooth_share=1),
    ],
)
@pytest.mark.parametrize(
    ("name", "media"),
    [
        ("qwen2_vl", ["small", "large"]),
        ("qwen2_vl", ["video"]),
        ("dinov2", ["small", "another"]),
        ("siglip_vision_model", ["small"]),
    ],
)
def test_equals_plain_loops(name, media, method):
    model = build(name)
    inputs, adapter = FAMILIES[name].inputs(model, [media]), adapter_for(model)
    with torch.no_grad():
        with captured(model) as call, ipcv.compress(model, method) as handle:
            model(**inputs)
        compressed = flat(call["last"])
        with captured(model) as call:
            model(**inputs)
        arguments, places = call["arguments"], positions_of(model, inputs)
        start = flat(arguments["hidden_states"])
        for item in FAMILIES[name].items(model, [media]):
            for rows in item.segments(0):
                expected = plain_progressive(
                    name,
                    adapter.blocks,
                    start[rows],
                    rows,
                    places[rows],
                    method,
                    item.protected,
                    arguments,
                )
                torch.testing.assert_close(compressed[rows], expected, atol=1e-4, rtol=1e-3)
    for stats in handle.stats.calls[-1].items:
        assert stats.kept == stats.tokens_per_block[-1] < stats.patches
        assert (stats.keys_per_block[0] < stats.patches) == (method.smooth_share > 0)


def positions_of(model, inputs):
    """`(N, 3)`, as the adapter tells them."""
    adapter, seen = adapter_for(model), []
    layout = type(adapter).layout

    def spy(self, context, hidden_states):
        seen.append(layout(self, context, hidden_states))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(adapter), "layout", spy)
        with ipcv.compress(model, Progressive(0.5)):
            model(**inputs)
    return seen[-1].positions()


@pytest.mark.parametrize("name", ["qwen2_vl", "internvl", "llava-siglip", "dinov2"])
def test_an_image_is_as_alone(name):
    model = build(name)
    media = ["small", "large"]
    items = FAMILIES[name].items(model, [media])
    with torch.no_grad(), ipcv.compress(model, Progressive(0.6)), captured(model) as call:
        model(**FAMILIES[name].inputs(model, [media]))
        together = flat(call["last"])
        for medium, item in zip(media, items, strict=True):
            model(**FAMILIES[name].inputs(model, [[medium]]))
            expected = together[torch.cat(item.groups)]
            torch.testing.assert_close(flat(call["last"]), expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen3_vl", "clip_vision_model"])
def test_removal_and_ratio_0_leave_no_trace(name):
    model = build(name)
    inputs = FAMILIES[name].inputs(model, [["small"]])
    with torch.no_grad():
        before = model(**inputs)[0]
        with ipcv.compress(model, Progressive(0)):
            assert identical(model(**inputs)[0], before)
        with ipcv.compress(model, Progressive(0.5)):
            pruned = model(**inputs)[0]
        assert pruned.shape == before.shape
        assert not identical(pruned, before)
        assert identical(model(**inputs)[0], before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    model = deepcopy(build("dinov2"))
    inputs = FAMILIES["dinov2"].inputs(model, [["small"]])
    with torch.no_grad():
        before = model(**inputs)[0]
        with ipcv.compress(model, Progressive(0.5)):
            expected = model(**inputs)[0]
            output = model.to(dtype)(**inputs)[0]
    assert output.dtype == dtype
    # Other patches may go than in fp32: no further away than compression itself.
    assert (output.float() - expected).norm() < (before - expected).norm()


def test_hidden_states_have_full_length():
    model = build("clip_vision_model")
    inputs = FAMILIES["clip_vision_model"].inputs(model, [["small"]])
    with torch.no_grad(), ipcv.compress(model, Progressive(0.5)):
        output = model(**inputs, output_hidden_states=True)
        assert {tuple(state.shape) for state in output.hidden_states} == {(1, 65, 32)}
        assert torch.equal(model(**inputs).last_hidden_state, output.last_hidden_state)


def test_twins_stand_for_each_other():
    states = torch.randn(1, 16, 32).repeat_interleave(2, dim=1)
    heads = states.view(1, 32, 4, 8)
    run = Progressive(0.5, num_neighbors=1).start(
        (32, 32, 16), 0, torch.arange(32)[None], lambda: torch.zeros(32, 3, dtype=torch.int64)
    )
    attend = partial(proportional_attention, 1.0, 0.0)
    left, attended = run.shrink(Tokens(states, states, heads, heads, heads, heads), 16, attend)
    assert torch.equal(left, states[:, 1::2])
    assert left.shape == attended.shape
    torch.testing.assert_close(run.sizes, torch.full((1, 16), 2.0))
    torch.testing.assert_close(run.restore(3 * left), 3 * states)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2))
def test_smoothest_leaves_who_stands_for_others(rows, columns, protected):
    places = torch.cartesian_prod(*map(torch.arange, (1, rows, columns))).view(-1, 3)
    places = torch.cat([places.new_zeros(protected, 3), places])[None]
    length, r = places.shape[1], rows * columns // 2
    states = torch.randn(1, length, 4)
    kept, destination = smoothest(states, places, r, protected)
    stay, into = kept[0].tolist(), plain_smoothest(states[0], places[0], r, protected)
    assert stay == [i for i in range(length) if i not in into]
    assert [stay[j] for j in destination[0]] == [into.get(i, i) for i in range(length)]


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_an_image_of_one_colour(share):
    model = build("dinov2")
    with torch.no_grad(), ipcv.compress(model, Progressive(0.5, smooth_share=share)):
        assert model(pixel_values=torch.ones(1, 3, 32, 32))[0].isfinite().all()


@pytest.mark.parametrize(
    "settings",
    [{"reduction_ratio": 1}, {"num_neighbors": 0}, {"reconstruction": "up"}, {"smooth_share": 1.1}],
)
def test_settings_are_checked(settings):
    with pytest.raises(ValueError, match="must be"):
        Progressive(**settings)


def test_settings_round_trip():
    method = Progressive(0.7, 3, "mean")
    assert Progressive.from_dict(method.to_dict()) == method


def test_schedule():
    method = Progressive(0.6, smooth_share=0.5)
    counts = method.removed_per_block(1000, 4)
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 0
    assert sum(counts) == 300 == method.removed_before(1000)
