"""Token Merging against loops over single tokens."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch.nn import functional as F

import ipcv
from ipcv.baselines import ToMe
from ipcv.families import adapter_for
from ipcv.vision.matching import match
from ipcv.vision.tome import merge
from tests.vision.adapters.families import FAMILIES, build
from tests.vision.adapters.test_families import captured, flat, identical


def plain_match(keys, r, protected):
    """Which token each merged one goes into, by its index among `keys`, a list of vectors."""
    patches = list(range(protected, len(keys)))
    best = {
        i: max((float(F.cosine_similarity(keys[i], keys[j], dim=0)), -j) for j in patches[1::2])
        for i in patches[::2]
        if patches[1::2]
    }
    order = sorted(best, key=lambda i: (-best[i][0], i))
    return {i: -best[i][1] for i in order[:r]}


def plain_merge(states, sizes, into):
    """Weighted means, token by token; the sizes; and where each token went."""
    stay = [i for i in range(len(states)) if i not in into]
    merged, new_sizes = [], []
    for place in stay:
        members = [place, *(i for i, target in into.items() if target == place)]
        total = sum(sizes[i] for i in members)
        merged.append(sum(states[i] * sizes[i] for i in members) / total)
        new_sizes.append(total)
    went = [stay.index(into.get(i, i)) for i in range(len(states))]
    return torch.stack(merged), new_sizes, went, stay


@given(st.integers(2, 17), st.integers(0, 8), st.integers(0, 3), st.integers(0, 100))
def test_matching_and_merging(patches, r, protected, seed):
    r = min(r, patches // 2)
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(3, protected + patches, 4, generator=generator)
    states = torch.randn(3, protected + patches, 5, generator=generator)
    sizes = torch.randint(1, 9, keys.shape[:2], generator=generator).float()
    kept, destination = match(keys, r, protected)
    means, new_sizes = merge(states, sizes, destination, kept.shape[1])
    for group in range(3):
        into = plain_match(keys[group], r, protected)
        expected, totals, went, stay = plain_merge(states[group], sizes[group].tolist(), into)
        assert kept[group].tolist() == stay
        assert destination[group].tolist() == went
        torch.testing.assert_close(means[group], expected)
        assert new_sizes[group].tolist() == totals


def test_matching_stays_within_the_memory_budget(monkeypatch):
    keys = torch.randn(3, 31, 4)
    expected, largest = match(keys, 7, 1), []
    compute = torch.Tensor.__matmul__

    def record(a, b):
        product = compute(a, b)
        largest.append(product.numel() * product.element_size())
        return product

    monkeypatch.setattr(torch.Tensor, "__matmul__", record)
    for budget in (100, 2000):
        monkeypatch.setattr("ipcv.core.ops.NEIGHBOR_MEMORY_BUDGET", budget)
        assert all(map(torch.equal, match(keys, 7, 1), expected))
        assert max(largest) <= budget


def rotated(x, cos, sin):
    """Rotary embedding of `(n, heads, D)`, pair by pair."""
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    cos, sin = cos[:, None], sin[:, None]
    return torch.cat(
        [a * cos[..., :half] - b * sin[..., :half], b * cos[..., half:] + a * sin[..., half:]], -1
    )


def qwen_attention(block, normed, positions, arguments):
    module = block.attn
    q, k, v = (x.unflatten(-1, (module.num_heads, -1)) for x in module.qkv(normed).chunk(3, -1))
    cos, sin = (x[positions] for x in arguments["position_embeddings"])
    return rotated(q, cos, sin), rotated(k, cos, sin), v, k, module.proj


def batched_attention(block, normed, positions, arguments):
    module = block.get_submodule(
        {"Dinov2Layer": "attention"}.get(type(block).__name__, "self_attn")
    )
    heads = (-1, module.head_dim)
    q, k, v = (
        p(normed).unflatten(-1, heads) for p in (module.q_proj, module.k_proj, module.v_proj)
    )
    return q, k, v, k, getattr(module, "o_proj", None) or module.out_proj


PARTS = {  # the block's parts by their role: attention, norms, scales, MLP
    "qwen2_vl": (qwen_attention, "norm1", "norm2", None, None),
    "dinov2": (batched_attention, "norm1", "norm2", "layer_scale1", "layer_scale2"),
    "siglip_vision_model": (batched_attention, "layer_norm1", "layer_norm2", None, None),
    "clip_vision_model": (batched_attention, "layer_norm1", "layer_norm2", None, None),
}


def plain_tome(name, blocks, states, rows, r, protected, arguments):
    """One segment, `(n, C)`, through all blocks."""
    heads, norm1, norm2, scale1, scale2 = PARTS[name]
    sizes, positions, token_of = [1.0] * len(rows), rows, list(range(len(rows)))
    for block, count in zip(blocks, r, strict=True):
        scale = [getattr(block, s) if s else lambda x: x for s in (scale1, scale2)]
        q, k, v, keys, project = heads(block, getattr(block, norm1)(states), positions, arguments)
        logits = (
            torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(q.shape[-1]) + torch.tensor(sizes).log()
        )
        attended = torch.einsum("hqk,khd->qhd", logits.softmax(-1), v).flatten(1)
        states = states + scale[0](project(attended))
        count = min(count, (len(states) - protected) // 2)
        into = plain_match(keys.mean(1), count, protected)
        states, sizes, went, stay = plain_merge(states, sizes, into)
        positions = positions[stay]
        token_of = [went[token] for token in token_of]
        states = states + scale[1](block.mlp(getattr(block, norm2)(states)))
    return states[token_of]


@pytest.mark.parametrize("method", [ToMe(0.2), ToMe(3), ToMe(0.15, "decreasing")])
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
        start = flat(call["arguments"]["hidden_states"])
        for item in FAMILIES[name].items(model, [media]):
            for rows in item.segments(0):
                patches = len(rows) - item.protected
                r = method.removed_per_block(patches, len(adapter.blocks))
                expected = plain_tome(
                    name, adapter.blocks, start[rows], rows, r, item.protected, call["arguments"]
                )
                torch.testing.assert_close(compressed[rows], expected, atol=2e-5, rtol=2e-5)
    for stats in handle.stats.calls[-1].items:
        assert stats.kept == stats.tokens_per_block[-1] < stats.patches == stats.keys_per_block[0]
        assert stats.tokens_per_block[:-1] == stats.keys_per_block[1:]


MERGING = [name for name in FAMILIES if not adapter_for(build(name)).obstacle]


@pytest.mark.parametrize("name", MERGING)
def test_removal_and_r_0_leave_no_trace(name):
    model = build(name)
    inputs = FAMILIES[name].inputs(model, [["small", "large"]])
    with torch.no_grad():
        before = model(**inputs)[0]
        with ipcv.compress(model, ToMe(0)):
            assert identical(model(**inputs)[0], before)
        with ipcv.compress(model, ToMe(0.1)):
            merged = model(**inputs)[0]
        assert merged.shape == before.shape
        assert not identical(merged, before)
        assert identical(model(**inputs)[0], before)


@pytest.mark.parametrize("name", ["qwen2_vl", "internvl", "llava-siglip"])
def test_an_image_is_as_alone(name):
    model = build(name)
    media = ["small", "large"]
    items = FAMILIES[name].items(model, [media])
    with torch.no_grad(), ipcv.compress(model, ToMe(0.1)), captured(model) as call:
        model(**FAMILIES[name].inputs(model, [media]))
        together = flat(call["last"])
        for medium, item in zip(media, items, strict=True):
            model(**FAMILIES[name].inputs(model, [[medium]]))
            expected = together[torch.cat(item.groups)]
            torch.testing.assert_close(flat(call["last"]), expected, atol=2e-5, rtol=2e-5)


def test_hidden_states_have_full_length():
    model = build("clip_vision_model")
    inputs = FAMILIES["clip_vision_model"].inputs(model, [["small"]])
    with torch.no_grad(), ipcv.compress(model, ToMe(0.1)):
        output = model(**inputs, output_hidden_states=True)
    assert {tuple(state.shape) for state in output.hidden_states} == {(1, 65, 32)}
    with torch.no_grad(), ipcv.compress(model, ToMe(0.1)):
        assert torch.equal(model(**inputs).last_hidden_state, output.last_hidden_state)


def test_what_cannot_merge_says_so():
    for name in sorted(set(FAMILIES) - set(MERGING)):
        with pytest.raises(ValueError, match="ToMe does not work"):
            ipcv.compress(build(name), ToMe())


def test_padding_is_refused_and_the_model_stays_usable():
    model = build("dinov2")
    inputs = FAMILIES["dinov2"].inputs(model, [["small", "another"]])
    mask = torch.ones(2, 65, dtype=torch.bool)
    mask[1, 40:] = False
    with torch.no_grad(), ipcv.compress(model, ToMe(0.1)):
        expected = model(**inputs)[0]
        with pytest.raises(ValueError, match="padding"):
            model(**inputs, attention_mask=mask)
        assert torch.equal(model(**inputs)[0], expected)


def test_schedules():
    assert ToMe(0.1).removed_per_block(100, 3) == [10, 10, 10]
    assert ToMe(7).removed_per_block(100, 2) == [7, 7]
    assert ToMe(0.1, "decreasing").removed_per_block(100, 3) == [20, 10, 0]


@pytest.mark.parametrize("settings", [{"r": -1}, {"r": 1.5}, {"r": True}, {"schedule": "up"}])
def test_settings_are_checked(settings):
    with pytest.raises(ValueError, match="must be"):
        ToMe(**settings)
