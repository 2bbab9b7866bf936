"""Whole models, end to end: what their vision encoder is called with, and their language side."""

from functools import partial

import pytest
import torch
from transformers import PreTrainedModel

import ipcv
from ipcv.families import adapter_for, family_of
from tests.families.whole import WHOLE, build, inputs
from tests.language.masked import dropped_columns, masked
from tests.vision.adapters.families import IMAGE_TOKEN, tokens

VISION = ipcv.IPCV(prune_layer=1, reduction_ratio=0.65, stabilization_layers=2, num_neighbors=3)
WITH_DECODER = [name for name in WHOLE if family_of(name).decoder]


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("name", WHOLE)
def test_vision_side(name):
    model, prompt = build(name), inputs(name)
    before = model(**prompt).logits
    with ipcv.compress(model, ipcv.IPCV(1, 0.0)):
        assert torch.equal(model(**prompt).logits, before)
    with ipcv.compress(model, VISION) as handle:
        after = model(**prompt).logits
    assert after.shape == before.shape
    assert not torch.equal(after, before)
    (call,) = handle.stats.calls
    assert [item.patches for item in call.items] == list(WHOLE[name].patches)
    assert torch.equal(model(**prompt).logits, before)


@pytest.mark.parametrize("name", [name for name in WHOLE if family_of(name).tiles])
def test_tiles_compete_within_their_image(name):
    """What is kept of the second image does not depend on the first."""
    model, prompt, (_, length) = build(name), inputs(name), WHOLE[name].lengths
    pixels = {key: value[1:] for key, value in prompt.items() if key[:5] in ("pixel", "image")}
    alone = tokens([[(IMAGE_TOKEN, length)]]) | pixels
    kept = []
    for given in (prompt, alone):
        with ipcv.compress(model, VISION) as handle:
            model(**given)
        kept.append(handle.kept_indices[-1])
    assert torch.equal(*kept)


def test_an_encoder_encodes_once_for_its_decoder():
    """The decoder's calls get the pixels too, and what was made of them."""
    model, prompt = build("t5gemma2"), inputs("t5gemma2")
    given = prompt["decoder_input_ids"].shape[1]
    with ipcv.compress(model, VISION) as handle:
        output = model.generate(
            **prompt,
            max_new_tokens=4,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
    assert len(handle.stats) == 1
    with ipcv.compress(model, VISION):
        expected = model(**prompt | {"decoder_input_ids": output.sequences[:, :-1]}).logits
    logits = torch.stack(output.logits, 1)
    torch.testing.assert_close(logits, expected[:, given - 1 :], atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["pi0", "t5gemma2"])
def test_parts_around_the_encoder(name):
    """They are compressed alone, and none has a language model that can be."""
    model = build(name)
    encoder = adapter_for(model).encoder
    parts = [part for part in model.modules() if isinstance(part, PreTrainedModel)]
    around = [part for part in parts if any(inner is encoder for inner in part.modules())]
    assert len(around) > 3
    assert all(adapter_for(part).encoder is encoder for part in around)
    for part in around:
        with pytest.raises(ValueError, match=f"side of {type(part).__name__} cannot be compressed"):
            ipcv.compress(part, language=ipcv.FastV(1))


def generate(model, prompt):
    output = model.generate(
        **prompt,
        max_new_tokens=4,
        do_sample=False,
        return_dict_in_generate=True,
        output_logits=True,
    )
    return torch.stack(output.logits)


@pytest.mark.parametrize("kind", [partial(ipcv.DART, image_pivots=1, text_pivots=1), ipcv.FastV])
@pytest.mark.parametrize("name", WITH_DECODER)
def test_language_side(name, kind):
    """Dropping tokens is masking them."""
    model, prompt = build(name), inputs(name)
    with ipcv.compress(model, language=kind(1, 0.5)) as handle:
        logits = generate(model, prompt)
    (prefill,) = handle.stats.prefills
    assert 0 < prefill.image_tokens_per_layer[-1] < sum(WHOLE[name].lengths)
    with masked(model, dropped_columns(prefill)):
        expected = generate(model, prompt)
    torch.testing.assert_close(logits, expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", WITH_DECODER)
def test_attention_of_the_last_token(name):
    """By which FastV ranks."""
    model, prompt = build(name, "eager"), inputs(name)
    with ipcv.compress(model, language=ipcv.FastV(1, 0.5)) as handle:
        model(**prompt)
    (prefill,) = handle.stats.prefills
    attention = model(**prompt, output_attentions=True).attentions[0][0, :, -1].mean(0)
    (dropped,) = dropped_columns(prefill)[-1]
    for run in prefill.prompt.runs:
        columns = range(run.start, run.start + run.length)
        ranked = sorted(columns, key=lambda column: float(attention[column]))
        assert set(ranked[: -(run.length // 2)]) == dropped & set(columns)
