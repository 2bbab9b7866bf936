"""Every method against plain Python on what the untouched model computes."""

from copy import deepcopy

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses import FakeTensorMode

import ipcv
from ipcv.baselines import CDPruner
from ipcv.core import ops
from ipcv.families import find_decoder
from ipcv.language.cache import KeyRecorder
from ipcv.language.call import ModelCall
from ipcv.language.dart import least_similar
from ipcv.language.engine import DecoderEngine
from ipcv.language.layout import PromptLayout
from ipcv.stats import Stats
from tests.language.test_matrix import CASES
from tests.language.tiny import NAMES, VARIANTS, build, inputs

PROMPTS = CASES["mixed-batch"]


def untouched(name):
    """Per image: its row, columns, and the text columns after it; and the model's insides."""
    model, prompt = build(name, "eager"), inputs(name, PROMPTS)
    with torch.no_grad():
        output = model(**prompt, output_hidden_states=True, output_attentions=True)
    share = 64 if name.startswith(("llava-clip", "paligemma")) else None
    return images_of(prompt, find_decoder(model).visual_ids, share), output


def images_of(prompt, visual_ids, share):
    images = []
    for row, ids in enumerate(prompt["input_ids"].tolist()):
        columns = []
        for column, token in enumerate([*ids, 0]):
            if token in visual_ids and (not share or len(columns) < share):
                columns.append(column)
            elif columns:
                text = [c for c in range(column, len(ids)) if ids[c] not in visual_ids]
                images.append((row, columns, text))
                columns = []
    return images


def kept_by(name, method):
    model = build(name, "eager")
    with torch.no_grad(), ipcv.compress(model, language=method) as handle:
        model(**inputs(name, PROMPTS))
    return [indices.tolist() for indices in handle.stats.prefills[0].kept_indices]


def highest(scores, count):
    # Equal ones, such as tokens outside a sliding window, spread over the image.
    ranked = sorted(range(len(scores)), key=lambda i: (-scores[i], i * ops.SPREAD % 2**32))
    return sorted(ranked[:count])


@pytest.mark.parametrize("name", NAMES + VARIANTS)
def test_fastv(name):
    images, output = untouched(name)
    for layer, ratio in ((2, 0.5), (3, 0.8)):
        kept = kept_by(name, ipcv.FastV(layer, ratio))
        assert len(kept) == len(images)
        for (row, columns, _), mine in zip(images, kept, strict=True):
            attention = output.attentions[layer - 1][row, :, -1].mean(dim=0)[columns]
            count = max(1, int(len(columns) * (1 - ratio)))
            assert mine == highest(attention.tolist(), count)


@pytest.mark.parametrize("name", NAMES)
def test_v2drop(name):
    images, output = untouched(name)
    kept = kept_by(name, ipcv.V2Drop(stages=((2, 0.4),)))
    change = (output.hidden_states[2] - output.hidden_states[1]).norm(dim=-1)
    for (row, columns, _), mine in zip(images, kept, strict=True):
        assert mine == highest(change[row, columns].tolist(), int(len(columns) * 0.4))


def test_v2drop_can_drop_every_image_token():
    assert kept_by("qwen2_vl", ipcv.V2Drop(stages=((2, 0.5), (3, 0)))) == [[], [], []]


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("name", ["qwen2_vl", "internvl", "llava_next", "smolvlm"])
def test_dart(name, normalize):
    images, output = untouched(name)
    method = ipcv.DART(2, 0.4, image_pivots=2, text_pivots=3, normalize=normalize)
    kept = kept_by(name, method)
    states, keys = output.hidden_states[2], output.past_key_values.layers[1].keys
    if normalize:
        states = find_decoder(build(name, "eager")).norm(states)
    padding = (inputs(name, PROMPTS)["attention_mask"] == 0).sum(dim=1).tolist()
    for (row, columns, text), mine in zip(images, kept, strict=True):
        norms = keys[row].abs().sum(dim=(0, 2)).tolist()
        strongest = sorted(columns, key=lambda c: -norms[c])[:2]
        pivots = strongest + sorted(text, key=lambda c: -norms[c])[:3]
        if not normalize:
            pivots = [p + padding[row] for p in set([p - padding[row] for p in pivots])]  # noqa: C403
        result = set(strongest)
        for pivot in pivots:
            similarity = torch.cosine_similarity(states[row, pivot], states[row, columns], dim=-1)
            order = sorted(range(len(columns)), key=lambda i: similarity[i])
            unkept = [columns[i] for i in order if columns[i] not in result]
            result |= set(unkept[: int(len(columns) * 0.6 / 5)])
        assert [columns[i] for i in mine] == sorted(result)


@settings(deadline=None, max_examples=50)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    num_pivots=st.integers(1, 5),
    data=st.data(),
)
def test_least_similar(lengths, num_pivots, data):
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**16)))
    images = torch.randn(len(lengths), max(lengths), 3, generator=generator)
    pivots = torch.randn(len(lengths), num_pivots, 3, generator=generator)
    most = st.integers(0, min(max(lengths), 4))
    shares = [[data.draw(most) for _ in range(num_pivots)] for _ in lengths]
    first = torch.tensor([[data.draw(st.integers(0, n - 1))] for n in lengths])
    is_kept = least_similar(pivots, images, first, shares, lengths)
    for image, length in enumerate(lengths):
        kept = {int(first[image])}
        for pivot in range(num_pivots):
            similarity = torch.cosine_similarity(pivots[image, pivot], images[image], dim=-1)
            order = sorted(range(length), key=lambda i: similarity[i])
            kept |= set([i for i in order if i not in kept][: shares[image][pivot]])
        assert set(is_kept[image].nonzero().flatten().tolist()) == kept


def test_random_drop_depends_on_the_seed_and_the_place_in_the_prompt_alone():
    kept = kept_by("qwen2_vl", ipcv.RandomDrop(2, 0.5))
    assert kept == kept_by("qwen2_vl", ipcv.RandomDrop(3, 0.5))
    assert kept != kept_by("qwen2_vl", ipcv.RandomDrop(2, 0.5, seed=1))
    assert kept[0] != kept[2]  # equally large, but the second of its prompt


@pytest.mark.parametrize("pivots", [1, 40])
def test_dart_with_more_pivots_than_tokens(pivots):
    method = ipcv.DART(2, 0.5, image_pivots=pivots, text_pivots=pivots)
    counts = [len(kept) for kept in kept_by("qwen2_vl", method)]
    assert counts == ([1 + 2 * 3, 1 + 2 * 1, 1 + 2 * 3] if pivots == 1 else [12, 4, 12])


@pytest.mark.parametrize(
    "method", [ipcv.DART(2), ipcv.FastV(2), ipcv.V2Drop(((2, 0.5),)), CDPruner(0.5)]
)
def test_layers_on_several_devices(method):
    """The layer before and the last norm are elsewhere; tensors without data check that."""
    model = deepcopy(build("qwen2_vl"))
    decoder = find_decoder(model)
    add_hook_to_module(decoder.norm, AlignDevicesHook(execution_device="cpu"))
    width, head_dim = decoder.config.hidden_size, decoder.layers[0].self_attn.head_dim
    layout = PromptLayout.of(torch.tensor([[0, 1, 1, 1, 1, 0, 0], [-1, 0, 1, 1, 1, 1, 0]]))
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        states = torch.empty(2, 7, width, device="lazy")
        call = ModelCall(7, layout=layout, recorder=KeyRecorder(None))
        call.recorder.keys = torch.empty(2, decoder.config.num_key_value_heads, 7, head_dim)
        rotary = torch.empty(2, 7, head_dim, device="lazy")
        call.previous = {"hidden_states": states.cpu(), "position_embeddings": (rotary, rotary)}
        engine = DecoderEngine(decoder, method, Stats())
        is_text = torch.empty(2, 7, dtype=torch.bool, device="lazy")
        scores = method.scores(engine._prompt(call, 2, states, is_text))
    assert scores.shape == (8,)
    assert scores.device.type == "lazy"
