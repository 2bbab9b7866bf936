"""Removing tokens gives what masking them gives: every family, method and kind of batch."""

import pytest
import torch

import ipcv
from ipcv.baselines import CDPruner, VisionZip
from ipcv.families import family_of
from tests.language.masked import dropped_columns, masked
from tests.language.tiny import NAMES, VARIANTS, build, inputs
from tests.vision.adapters.families import FAMILIES

METHODS = {
    "dart": ipcv.DART(prune_layer=2, reduction_ratio=0.5, image_pivots=2, text_pivots=2),
    "dart-raw": ipcv.DART(prune_layer=3, reduction_ratio=0.6, normalize=False),
    "fastv": ipcv.FastV(prune_layer=2, reduction_ratio=0.5),
    "v2drop": ipcv.V2Drop(stages=((2, 0.5), (3, 0.2))),
    "random": ipcv.RandomDrop(prune_layer=2, reduction_ratio=0.7),
    "random-first": ipcv.RandomDrop(prune_layer=0, reduction_ratio=0.7),
    "cdpruner": CDPruner(reduction_ratio=0.5),
    "visionzip": VisionZip(reduction_ratio=0.5, contextual_ratio=0),  # merges nothing
}
FIRST = ("random-first", "cdpruner", "visionzip")  # before layer 0
CASES = {
    "one-image": [["large"]],
    "two-images": [["small", "large"]],
    "mixed-batch": [["large"], [], ["small", "large"]],
    "video": [["video"]],
}
STEPS = 16


def supports(name, method):
    """Not every encoder can be observed."""
    model_type = build(name).config.model_type
    return not method.needs_encoder or family_of(model_type).patches_per_token is not None


def cases():
    for number, name in enumerate(NAMES):
        for case in CASES:
            if case == "video" and not FAMILIES[name].has_video:
                continue
            inside = [method for method in METHODS if method not in FIRST]
            first = [method for method in FIRST if supports(name, METHODS[method])]
            if name not in ("qwen2_vl", "qwen3_vl"):  # there all, elsewhere in turns
                inside = [inside[number % 5], inside[(number + 2) % 5]]
                first = first[number % 3 :][:1] or first[:1]
            for method in inside + first:
                yield name, case, method


def generate(model, prompt, **options):
    options = {"max_new_tokens": STEPS, "do_sample": False} | options
    output = model.generate(**prompt, **options, return_dict_in_generate=True, output_logits=True)
    return output, torch.stack(output.logits)


def close(actual, expected):
    torch.testing.assert_close(actual, expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(("name", "case", "method"), list(cases()))
def test_generate(name, case, method, attention):
    model, prompt = build(name, attention), inputs(name, CASES[case])
    with ipcv.compress(model, language=METHODS[method]) as handle:
        output, logits = generate(model, prompt)
    (prefill,) = handle.stats.prefills
    assert 0 < prefill.image_tokens_per_layer[-1] < sum(run.length for run in prefill.prompt.runs)
    with masked(model, dropped_columns(prefill)):
        expected, expected_logits = generate(model, prompt)
    assert output.sequences.tolist() == expected.sequences.tolist()
    close(logits, expected_logits)


@pytest.mark.parametrize("method", ["dart", "fastv"])
@pytest.mark.parametrize("name", VARIANTS)
def test_other_language_models(name, method):
    test_generate(name, "mixed-batch", method, "eager")


@pytest.mark.parametrize("method", ["fastv", "random-first"])
@pytest.mark.parametrize("name", NAMES)
def test_forward_without_cache(name, method):
    if not supports(name, METHODS[method]):
        return
    model, prompt = build(name), inputs(name, CASES["mixed-batch"])
    with torch.no_grad(), ipcv.compress(model, language=METHODS[method]) as handle:
        output = model(**prompt, use_cache=False)
        (prefill,) = handle.stats.prefills
        dropped = dropped_columns(prefill)
    with torch.no_grad(), masked(model, dropped):
        expected = model(**prompt, use_cache=False)
    assert output.logits.shape == expected.logits.shape
    assert prefill.kv_bytes == prefill.kv_bytes_saved == 0
    is_kept = prompt["attention_mask"].bool()
    for row, columns in enumerate(dropped[-1]):
        is_kept[row, list(columns)] = False
    close(output.logits[is_kept], expected.logits[is_kept])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["qwen2_vl", "qwen3_vl", "gemma3", "internvl"])
def test_rows_are_as_alone(name, method):
    model = build(name)
    with ipcv.compress(model, language=METHODS[method]):
        _, logits = generate(model, inputs(name, CASES["mixed-batch"]))
        for row, prompt in enumerate(CASES["mixed-batch"]):
            _, alone = generate(model, inputs(name, [prompt]))
            close(logits[:, row], alone[:, 0])
