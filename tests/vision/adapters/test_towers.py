"""Every vision encoder that is a near copy of another family's: a short matrix."""

import pytest
import torch

import ipcv
from ipcv.baselines import ToMe
from ipcv.families import adapter_for
from tests.vision.adapters.test_families import (
    METHOD,
    assert_close,
    captured,
    flat,
    identical,
    plain_outputs,
)
from tests.vision.adapters.towers import TOWERS, build
from tests.vision.test_adaptive import check_model, whole_sizes  # noqa: F401

TWO = [["small", "large"]]
towers = pytest.mark.parametrize("name", TOWERS)


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


def last(model, name, media, method):
    """What the last block gives, `(N, C)`."""
    with captured(model) as call, ipcv.compress(model, method):
        model(**TOWERS[name].inputs(model, [media]))
    return flat(call["last"])


def output(model, name):
    return model(**TOWERS[name].inputs(model, TWO))[0]


@towers
def test_nothing_changes_at_ratio_0_or_after_removal(name):
    model = build(name)
    before = output(model, name)
    with ipcv.compress(model, ipcv.IPCV(1, 0.0, 2, 3)):
        assert identical(output(model, name), before)
    with ipcv.compress(model, METHOD):
        assert not identical(output(model, name), before)
    assert identical(output(model, name), before)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@towers
def test_equals_plain_loops(name, attention):
    model, family = build(name, attention), TOWERS[name]
    for media in (["small", "large"], *([["video"]] if family.has_video else [])):
        found = last(model, name, media, METHOD)
        for rows, outputs in plain_outputs(family, model, [media], METHOD):
            assert_close(found[rows], outputs[-1])


def check_adaptive(name, method):
    model, family = build(name), TOWERS[name]
    adapter = adapter_for(model)

    def keys_of(block, states):
        return adapter.keys(adapter.attention(block), adapter.norm(block)(states)).mean(1)

    for media in (["small", "large"], *([["video"]] if family.has_video else [])):
        inputs, items = family.inputs(model, [media]), family.items(model, [media])
        call = check_model(model, inputs, items, method, keys_of)
    return [item.kept / item.patches for item in call.items]


@pytest.mark.usefixtures("whole_sizes")
@towers
def test_adaptive_equals_plain_loops(name):
    check_adaptive(name, ipcv.Adaptive(0.5))


@pytest.mark.usefixtures("whole_sizes")
@pytest.mark.parametrize(
    "name", [n for n in TOWERS if n in ("vjepa2", "llama4_vision_model") or n.startswith("timm")]
)
def test_adaptive_with_a_tolerance_equals_plain_loops(name):
    """Every item, and every frame of a video, keeps another number of rows."""
    assert min(check_adaptive(name, ipcv.Adaptive(0.75, tolerance=0.5))) < 1


@towers
def test_items_do_not_see_each_other(name):
    model = build(name)
    methods = [METHOD, ipcv.Adaptive(0.6)]
    if not adapter_for(model).obstacle:
        methods.append(ToMe(0.1))
    items = TOWERS[name].items(model, TWO)
    for method in methods:
        together = last(model, name, TWO[0], method)
        for medium, item in zip(TWO[0], items, strict=True):
            (alone,) = TOWERS[name].items(model, [[medium]])
            found = last(model, name, [medium], method)[torch.cat(alone.groups)]
            assert_close(found, together[torch.cat(item.groups)])


@pytest.mark.parametrize("name", [name for name in TOWERS if not name.startswith("timm")])
def test_all_hidden_states_have_full_length(name):
    model = build(name)
    inputs = TOWERS[name].inputs(model, TWO)
    with ipcv.compress(model, METHOD):
        states = model(**inputs, output_hidden_states=True).hidden_states
    for rows, outputs in plain_outputs(TOWERS[name], model, TWO, METHOD):
        between = zip(states[1:-1], outputs[:-1], strict=True)  # behind the last there may be more
        for state, expected in between:
            assert_close(flat(state)[rows], expected)


@towers
def test_heads_attend_as_the_encoder_does(name):
    """For methods that attend by themselves."""
    model, adapter = build(name), adapter_for(build(name))
    block, given = adapter.blocks[0], {}
    attention = adapter.attention(block)
    hook = attention.register_forward_hook(lambda *call: given.update(output=call[-1]))
    with captured(model) as call:
        model(**TOWERS[name].inputs(model, [["large", "large"]]))  # without padding
    hook.remove()
    arguments = call["arguments"]
    states = arguments["hidden_states"]
    normed = adapter.norm(block)(adapter.rows(states))
    query, key, value, content = adapter.heads(
        attention, normed, arguments, torch.arange(len(normed))
    )
    assert_close(adapter.keys(attention, normed).mean(1), content.mean(1))
    attended = []
    lengths = adapter.segment_lengths(states, arguments)
    scaling = getattr(attention, "scaling", None) or attention.scale
    for q, k, v in zip(query.split(lengths), key.split(lengths), value.split(lengths), strict=True):
        weights = (torch.einsum("qhd,khd->hqk", q, k) * scaling).softmax(-1)
        attended.append(torch.einsum("hqk,khd->qhd", weights, v).flatten(1))
    found = adapter.project_output(attention, torch.cat(attended), states)
    expected = given["output"]
    if isinstance(expected, tuple):
        found, expected = found[0], expected[0]
    assert_close(flat(found), flat(expected))


@pytest.mark.parametrize("frames", [0, 4])
@towers
def test_noise_is_what_the_encoder_takes(name, frames):
    model, adapter = build(name), adapter_for(build(name))
    arguments, patches = adapter.noise(32, 2, frames)
    with ipcv.compress(model, METHOD) as handle:
        model(**arguments)
    items = [item.patches for item in handle.stats.calls[-1].items]
    assert sum(items) == patches if frames else items == [patches] * 2


ROTARY = [
    name
    for name in TOWERS
    if any(
        "rotary" in part or "patch_positional" in part for part, _ in build(name).named_modules()
    )
    and name not in ("step3p5_vision", "llama4_vision_model", "gemma4_vision")  # batches of images
]


@pytest.mark.parametrize("name", ROTARY)
def test_packed_rows_are_where_the_encoder_says(name, monkeypatch):
    model, layouts, given = build(name), [], []
    adapter = adapter_for(model)
    (rotary,) = [
        module
        for part, module in model.named_modules()
        if part.split(".")[-1] in ("rotary_pos_emb", "rotary_emb", "patch_positional_embedding")
    ]
    hook = rotary.register_forward_hook(lambda module, args, output: given.append(args[1]))
    opened = type(adapter).open
    monkeypatch.setattr(
        type(adapter), "open", lambda *args: layouts.append(opened(*args)) or layouts[-1]
    )
    with ipcv.compress(model, METHOD):
        output(model, name)
    hook.remove()
    places = given[-1][:, -2:]
    if "muse" in name:  # column and row, from 1, sorted already
        places = places.flip(1) - 1
    elif (order := layouts[-1].order) is not None:
        places = places[order()]
    assert layouts[-1].positions()[:, 1:].tolist() == places.tolist()
