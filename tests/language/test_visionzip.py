"""Attention, tokens, choice and merging in plain loops over what the untouched model computes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ipcv
from ipcv.baselines import VisionZip
from ipcv.bench.cost.flops import count_flops
from ipcv.families import adapter_for, find_decoder
from ipcv.vision.adapters.attention import attention_of_first, attention_received
from tests.language import tiny
from tests.language.masked import dropped_columns, masked
from tests.language.test_matrix import CASES, close, generate, supports
from tests.language.test_methods import highest, images_of
from tests.language.tiny import inputs
from tests.vision.adapters.families import randomize

SIDES = {"qwen2_vl": 2, "qwen2_5_vl": 2, "internvl": 2, "gemma3": 2}
METHOD = VisionZip(reduction_ratio=0.5, contextual_ratio=0.25)
NAMES = (*(name for name in tiny.NAMES if supports(name, METHOD)), "llava-siglip")
PROMPTS = [case for case in CASES if case != "video"]


@cache
def build(name, attention="sdpa"):
    """With an encoder whose attention is not nearly uniform."""
    model = deepcopy(tiny.build(name, attention))
    randomize(model)
    return model


def attention_matrix(query, key, lengths, scaling):
    """`(heads, N, N)`, zero between segments."""
    matrix = torch.zeros(query.shape[1], len(query), len(query))
    start = 0
    for length in lengths:
        rows = slice(start, start + length)
        for head in range(query.shape[1]):
            logits = query[rows, head] @ key[rows, head].T * scaling
            matrix[head, rows, rows] = logits.softmax(dim=-1)
        start += length
    return matrix


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.sampled_from([0, 1, 3, 3, 5]), min_size=1, max_size=6).filter(any),
    budget=st.sampled_from([1, 100, 2**20]),
)
def test_attention_received(lengths, budget):
    query, key = torch.randn(2, sum(lengths), 4, 8, generator=torch.Generator().manual_seed(0))
    received = attention_received(query, key, lengths, 0.5, budget)
    expected = attention_matrix(query, key, lengths, 0.5).mean(dim=0).sum(dim=0)
    close(received, expected)


def test_attention_of_first():
    query, key = torch.randn(2, 10, 4, 8, generator=torch.Generator().manual_seed(0))
    matrix = attention_matrix(query, key, [5, 5], 0.5).mean(dim=0)
    close(attention_of_first(query, key, 5, 0.5), torch.cat([matrix[0, :5], matrix[5, 5:]]))


@contextmanager
def spied(model, monkeypatch) -> Iterator[tuple[list, list]]:
    """The attention weights of the second-to-last block, per segment, and its keys, `(N, D)`.

    From the model's own eager attention; keys before rotary embedding are those of the projection.
    """
    adapter = adapter_for(model)
    attention = adapter.attention(adapter.blocks[-2])
    module = sys.modules[type(attention).__module__]
    eager, weights, keys = module.eager_attention_forward, [], []

    def spy(caller, query, key, value, *args, **kwargs):
        output, matrix = eager(caller, query, key, value, *args, **kwargs)
        if caller is attention:
            weights.extend(matrix)
            if not hasattr(attention, "qkv"):
                keys.extend(key.mean(dim=1))
        return output, matrix

    def projected(projection, args, output):
        heads = output.view(len(output), 3, attention.num_heads, -1)
        keys.extend(heads[:, 1].mean(dim=1))

    monkeypatch.setattr(module, "eager_attention_forward", spy)
    hook = attention.qkv.register_forward_hook(projected) if hasattr(attention, "qkv") else None
    yield weights, keys
    if hook is not None:
        hook.remove()
    monkeypatch.undo()


def window_order(model, prompt):
    """For each row of the encoder's blocks, which patch it holds."""
    encoder, seen = adapter_for(model).encoder, []
    hooks = [
        encoder.patch_embed.register_forward_hook(lambda m, a, output: seen.append(output)),
        encoder.blocks[0].register_forward_pre_hook(lambda m, args: seen.append(args[0])),
    ]
    model(**prompt)
    for hook in hooks:
        hook.remove()
    patches, rows = seen
    order = []
    for row in rows:  # images may share patches, and come one after the other
        equal = (i for i, patch in enumerate(patches) if torch.equal(patch, row))
        order.append(next(i for i in equal if i not in order))
    return order


@torch.no_grad()
def visual_tokens(name, prompt, monkeypatch):
    """Per visual token, in the encoder's order: attention received, and the key."""
    model = build(name, "eager")
    with spied(model, monkeypatch) as (weights, keys):
        model(**prompt)
    if name.startswith("qwen"):
        received = torch.cat([matrix.mean(dim=0).sum(dim=0) for matrix in weights])
        has_windows = name == "qwen2_5_vl"
        order = window_order(model, prompt) if has_windows else range(len(received))
        patches = dict(zip(order, zip(received, keys, strict=True), strict=True))
        groups = [range(i, i + 4) for i in range(0, len(patches), 4)]
        return [mean([patches[i] for i in group]) for group in groups]
    tokens, side = [], SIDES.get(name, 1)
    for matrix, key in zip(weights, keys, strict=True):
        has_cls = len(key) == 65
        received = matrix.mean(dim=0)[0, 1:] if has_cls else matrix.mean(dim=0).sum(dim=0)
        patches = list(zip(received, key[1:] if has_cls else key, strict=True))
        for top in range(0, 8, side):
            for left in range(0, 8, side):
                square = [(top + y) * 8 + left + x for y in range(side) for x in range(side)]
                tokens.append(mean([patches[i] for i in square]))
    return tokens


def mean(patches):
    return tuple(torch.stack(values).mean(dim=0) for values in zip(*patches, strict=True))


def zipped(tokens, kept, contextual):
    """The dominant tokens, and for each contextual one those that it stands for."""
    dominant = highest([float(attention) for attention, _ in tokens], kept - contextual)
    rest = [i for i in range(len(tokens)) if i not in dominant]
    targets = [rest[i * (len(rest) // contextual)] for i in range(contextual)]
    groups = {target: [target] for target in targets}
    for i in rest:
        if targets and i not in targets:
            similar = {
                t: torch.cosine_similarity(tokens[i][1], tokens[t][1], dim=0) for t in targets
            }
            groups[max(targets, key=similar.__getitem__)].append(i)
    return dominant, groups


def plain(name, prompt, monkeypatch, method=METHOD):
    """Per image its row, columns, dominant tokens, and groups of the contextual ones."""
    tokens = visual_tokens(name, prompt, monkeypatch)
    share = 64 if name.startswith(("llava", "paligemma")) else None
    images = images_of(prompt, find_decoder(build(name)).visual_ids, share)
    result = []
    for row, columns, _ in images:
        mine, tokens = tokens[: len(columns)], tokens[len(columns) :]
        kept = int(len(columns) * (1 - method.reduction_ratio))
        contextual = int(kept * method.contextual_ratio)
        result.append((row, columns, *zipped(mine, kept, contextual)))
    assert not tokens
    return result


@contextmanager
def merged(model, images):
    """Give contextual tokens the mean state of their group, in front of the first layer."""

    def hook(layer, args, kwargs):
        states = args[0].clone()
        if states.shape[1] > 1:
            for row, columns, _, groups in images:
                for target, group in groups.items():
                    states[row, columns[target]] = args[0][row, [columns[i] for i in group]].mean(
                        dim=0
                    )
        return (states,), kwargs

    handle = find_decoder(model).layers[0].register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def kept_of(handle):
    return [indices.tolist() for indices in handle.stats.prefills[-1].kept_indices]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("case", [*PROMPTS, "video"])
@pytest.mark.parametrize("name", NAMES)
def test_generate(name, case, attention, monkeypatch):
    if case == "video" and not name.startswith("qwen"):
        return
    model, prompt = build(name, attention), inputs(name, CASES[case])
    images = plain(name, prompt, monkeypatch)
    with ipcv.compress(model, language=METHOD) as handle:
        output, logits = generate(model, prompt)
    kept = [sorted([*dominant, *groups]) for _, _, dominant, groups in images]
    assert kept_of(handle) == kept
    is_merged = any(len(group) > 1 for *_, groups in images for group in groups.values())
    assert is_merged or (case == "video" and name.startswith("qwen3"))  # frames of a few tokens
    with masked(model, dropped_columns(handle.stats.prefills[0])), merged(model, images):
        expected, expected_logits = generate(model, prompt)
    assert output.sequences.tolist() == expected.sequences.tolist()
    close(logits, expected_logits)


@pytest.mark.parametrize("name", ["qwen2_5_vl", "gemma3", "internvl"])
def test_rows_are_as_alone(name):
    model = build(name)
    with ipcv.compress(model, language=METHOD):
        _, logits = generate(model, inputs(name, CASES["mixed-batch"]))
        for row, prompt in enumerate(CASES["mixed-batch"]):
            _, alone = generate(model, inputs(name, [prompt]))
            close(logits[:, row], alone[:, 0])


@pytest.mark.parametrize("name", ["qwen2_vl", "llava-clip"])
def test_rows_repeated_behind_the_encoder(name):
    """As for beams."""
    model, prompt = build(name), inputs(name, [["small", "large"], ["large"]])
    with ipcv.compress(model, language=METHOD) as handle:
        generate(model, prompt)
        first, second, third = kept_of(handle)
        generate(model, prompt, num_beams=2)
        assert kept_of(handle) == [first, second, first, second, third, third]


def test_images_and_a_video_in_one_prompt():
    """The encoder is called for the images first."""
    name = "qwen2_vl"
    model = build(name)
    prompt = inputs(name, [["video", "small"], ["large"]])
    with torch.no_grad(), ipcv.compress(model, language=METHOD) as handle:
        model(**prompt)
        video, small, large = kept_of(handle)
        for medium, kept in (("video", video), ("small", small), ("large", large)):
            model(**inputs(name, [[medium]]))
            assert kept_of(handle) == [kept]


class Recorder(VisionZip):
    """Remembers what it got to see of the encoder."""

    seen: ClassVar = []

    def scores(self, prompt):
        self.seen.append(prompt.encoded)
        return super().scores(prompt)


@torch.no_grad()
def observed(model, prompt, vision=None):
    with ipcv.compress(model, vision, Recorder(0.5)):
        model(**prompt)
    return Recorder.seen.pop()


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("name", ["qwen2_5_vl", "llava-clip", "gemma3"])
def test_compressed_encoder(name, p, monkeypatch):
    """The attention is that of all patches, the removed ones rebuilt in front of the block."""
    model, prompt = build(name, "eager"), inputs(name, CASES["two-images"])
    vision = ipcv.IPCV(prune_layer=p, reduction_ratio=0.5, stabilization_layers=1)
    blocks = adapter_for(model).blocks
    with torch.no_grad(), ipcv.compress(model, vision):
        rebuilt = encode(model, prompt, output_hidden_states=True).hidden_states[len(blocks) - 2]

    def replaced(block, args, kwargs):
        if args:
            return (rebuilt, *args[1:]), kwargs
        return args, kwargs | {"hidden_states": rebuilt}

    hook = blocks[-2].register_forward_pre_hook(replaced, with_kwargs=True)
    try:
        tokens = visual_tokens(name, prompt, monkeypatch)
    finally:
        hook.remove()
    attention, keys = map(torch.stack, zip(*tokens, strict=True))
    mine, alone = observed(model, prompt, vision), observed(model, prompt)
    close(mine.attention, attention)
    close(mine.keys, keys)
    assert torch.allclose(mine.keys, alone.keys, atol=1e-3) == (p >= len(blocks) - 2)


@torch.no_grad()
def test_compressed_encoder_does_what_it_did():
    model, prompt = build("qwen2_5_vl"), inputs("qwen2_5_vl", CASES["two-images"])
    vision = ipcv.IPCV(prune_layer=1, reduction_ratio=0.5, stabilization_layers=0)
    with ipcv.compress(model, vision):
        expected = encode(model, prompt).pooler_output
    with ipcv.compress(model, vision, METHOD):
        assert all(map(torch.equal, encode(model, prompt).pooler_output, expected))


@torch.no_grad()
def test_attention_is_counted_as_the_encoders_work():
    model, prompt = build("llava-siglip"), inputs("llava-siglip", CASES["one-image"])
    alone = count_flops(lambda: encode(model, prompt))
    with ipcv.compress(model, language=METHOD):
        observed = count_flops(lambda: encode(model, prompt))
    projections, products = 2 * 3 * 64 * 32 * 32, 2 * 64 * 64 * 32
    assert observed - alone == projections + products


def encode(model, prompt, **options):
    keys = ("pixel_values", "image_grid_thw")
    return model.model.get_image_features(
        **{key: prompt[key] for key in keys if key in prompt}, **options
    )


def test_sides_are_compressed_in_one_call():
    model, sides = build("qwen2_vl"), [{"vision": ipcv.IPCV(prune_layer=1)}, {"language": METHOD}]
    for first, second in (sides, sides[::-1]):
        with ipcv.compress(model, **first), pytest.raises(RuntimeError, match="compressed already"):
            ipcv.compress(model, **second)
    with pytest.raises(ValueError, match="where every block"):
        ipcv.compress(model, ipcv.baselines.ToMe(), METHOD)
    ipcv.compress(model, **sides[0], **sides[1]).remove()
    ipcv.compress(model, **sides[0]).remove()


@pytest.mark.parametrize("name", ["llava_next", "llava_onevision", "idefics3", "smolvlm"])
def test_tokens_of_unknown_patches(name):
    with pytest.raises(ValueError, match=r"not known for .*; it is for qwen2_vl, .*paligemma"):
        ipcv.compress(build(name), language=METHOD)


def test_outputs_of_the_encoder_alone():
    model, prompt = build("qwen2_vl"), inputs("qwen2_vl", CASES["one-image"])
    with torch.no_grad(), ipcv.compress(model, language=METHOD) as handle:
        expected = model(**prompt).logits
        other = inputs("qwen2_vl", [["small"]])
        encode(model, other)  # of which nothing is left
        assert torch.equal(model(**prompt).logits, expected)
        encoded = {"image": encode(model, prompt)}
        del prompt["pixel_values"]
        with pytest.raises(RuntimeError, match="pass the pixels"):
            model(**prompt, mm_encoder_outputs=encoded)
    assert len(handle.stats.prefills) == 2


def test_few_tokens_are_all_dominant():
    model, prompt = build("qwen2_vl"), inputs("qwen2_vl", [["small", "large"]])
    with torch.no_grad(), ipcv.compress(model, language=VisionZip(0.75, 0.4)) as handle:
        model(**prompt)
    assert [len(kept) for kept in kept_of(handle)] == [1, 3]
