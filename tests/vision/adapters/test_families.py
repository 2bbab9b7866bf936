"""Every family, attention implementation and kind of batch, on tiny random models."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from inspect import signature

import pytest
import torch

import ipcv
from ipcv.families import adapter_for
from tests.vision.adapters.families import FAMILIES, SPECIAL_TOKENS, build
from tests.vision.adapters.reference import PlainItem, batched_runner, packed_runner

CASES = {
    "one-image": [["small"]],
    "two-sizes": [["small", "large"]],
    "mixed-batch": [["large"], [], ["small"]],
    "video": [["video"]],
}
MATRIX = [
    (name, attention, case)
    for name, family in FAMILIES.items()
    for attention in ("eager", "sdpa")
    for case in CASES
    if case != "video" or family.has_video
]
BARE = {name for name, family in FAMILIES.items() if not family.class_name.endswith("Generation")}
matrix = pytest.mark.parametrize(("name", "attention", "case"), MATRIX)
families = pytest.mark.parametrize("name", FAMILIES)
videos = pytest.mark.parametrize("name", [n for n, family in FAMILIES.items() if family.has_video])
language_models = pytest.mark.parametrize("name", [name for name in FAMILIES if name not in BARE])

METHOD = ipcv.IPCV(prune_layer=1, reduction_ratio=0.65, stabilization_layers=2, num_neighbors=3)


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


def prompt(name, case, attention="sdpa"):
    """A model and its inputs."""
    model = build(name, attention)
    return model, FAMILIES[name].inputs(model, CASES[case])


@contextmanager
def captured(model):
    """Of the latest encoder call: its arguments, the first block's, the last block's output."""
    adapter, call = adapter_for(model), {}

    def open_encoder(encoder, args, kwargs):
        call["encoder_arguments"] = args, kwargs

    def enter(block, args, kwargs):
        _, *names = signature(type(block).forward).parameters
        call["arguments"] = dict(zip(names, args, strict=False)) | kwargs
        call["arguments"]["hidden_states"] = call["arguments"].pop(adapter.states_name)

    def leave(block, args, output):
        call["last"] = output[0] if isinstance(output, tuple) else output

    def close_encoder(encoder, args, output):
        call["output"] = output

    hooks = [
        adapter.encoder.register_forward_pre_hook(open_encoder, with_kwargs=True),
        adapter.encoder.register_forward_hook(close_encoder),
        adapter.blocks[0].register_forward_pre_hook(enter, with_kwargs=True),
        adapter.blocks[-1].register_forward_hook(leave),
    ]
    try:
        yield call
    finally:
        for hook in hooks:
            hook.remove()


def flat(states):
    return states.reshape(-1, states.shape[-1])


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, atol=2e-5, rtol=2e-5)


def identical(actual, expected):
    """Bit by bit, NaN too."""
    return torch.equal(actual.view(torch.int32), expected.view(torch.int32))


@matrix
def test_nothing_changes_at_ratio_0_or_after_removal(name, attention, case):
    model, inputs = prompt(name, case, attention)
    before = model(**inputs)[0]
    with ipcv.compress(model, ipcv.IPCV(1, 0.0, 2, 3)) as handle:
        assert identical(model(**inputs)[0], before)
        assert all(item.kept == item.patches for item in handle.stats.calls[-1].items)
    with ipcv.compress(model, METHOD):
        compressed = model(**inputs)[0]
    assert compressed.shape == before.shape
    assert not identical(compressed, before)
    assert identical(model(**inputs)[0], before)


def reference(name, case, method, attention="sdpa"):
    """Per item its rows, and the reference's outputs of every block for them."""
    return plain_outputs(FAMILIES[name], build(name, attention), CASES[case], method)


def plain_outputs(family, model, prompts, method):
    with captured(model) as call:
        model(**family.inputs(model, prompts))
    blocks, arguments = adapter_for(model).blocks, call["arguments"]
    runner = packed_runner if "cu_seqlens" in arguments else batched_runner
    for item in family.items(model, prompts):
        plain = PlainItem(item, method, runner(blocks, arguments))
        yield plain.rows, plain.outputs(flat(arguments["hidden_states"]), len(blocks))


@matrix
def test_equals_plain_loops(name, attention, case):
    method = ipcv.IPCV(2, 0.65, 1, 3)
    model, inputs = prompt(name, case, attention)
    with captured(model) as call, ipcv.compress(model, method):
        model(**inputs)
    for rows, outputs in reference(name, case, method, attention):
        assert_close(flat(call["last"])[rows], outputs[-1])


@pytest.mark.parametrize("stabilization", [0, 2, 9])
@pytest.mark.parametrize("ratio", [0.35, 0.65, 0.9])
@families
def test_equals_plain_loops_at_other_settings(name, ratio, stabilization):
    method = ipcv.IPCV(1, ratio, stabilization, 3)
    model, inputs = prompt(name, "two-sizes")
    with captured(model) as call, ipcv.compress(model, method):
        model(**inputs)
    for rows, outputs in reference(name, "two-sizes", method):
        assert_close(flat(call["last"])[rows], outputs[-1])


@pytest.mark.parametrize("stabilization", [0, 2])
@families
def test_equals_plain_loops_before_all_blocks(name, stabilization):
    everything = 1000  # several tiles have equal first tokens here: which is nearest is undecided
    method = ipcv.IPCV(0, 0.65, stabilization, everything, selector="norm")
    model, inputs = prompt(name, "two-sizes")
    with captured(model) as call, ipcv.compress(model, method) as handle:
        model(**inputs)
    for rows, outputs in reference(name, "two-sizes", method):
        assert_close(flat(call["last"])[rows], outputs[-1])
    for item in handle.stats.calls[-1].items:
        assert item.tokens_per_block[0] == item.kept < item.patches


@families
def test_without_reconstruction_removed_rows_stay(name):
    method = ipcv.IPCV(1, 0.65, 2, 3, reconstruction="none")
    model, inputs = prompt(name, "two-sizes")
    with captured(model) as call, ipcv.compress(model, method):
        model(**inputs)
    for rows, outputs in reference(name, "two-sizes", method):
        assert_close(flat(call["last"])[rows], outputs[-1])


@pytest.mark.parametrize("scope", ["frames", "item"])
@pytest.mark.parametrize("ratio", [0.2, 0.8])
@videos
def test_neighbors_in_a_video(name, ratio, scope):
    method = ipcv.IPCV(1, ratio, 2, 3, neighbor_scope=scope)
    model, inputs = prompt(name, "video")
    with captured(model) as call, ipcv.compress(model, method):
        model(**inputs)
    for rows, outputs in reference(name, "video", method):
        assert_close(flat(call["last"])[rows], outputs[-1])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@videos
def test_frames_of_a_video_may_lose_all_their_patches(name, attention):
    method = ipcv.IPCV(1, 0.99, 1, 3)
    model, inputs = prompt(name, "video", attention)
    with captured(model) as call, ipcv.compress(model, method) as handle:
        model(**inputs)
    ((rows, outputs),) = reference(name, "video", method, attention)
    assert_close(flat(call["last"])[rows], outputs[-1])
    if "qwen" in name:
        assert [len(kept) for kept in handle.kept_indices] == [1]  # of five frames


@pytest.mark.parametrize("case", ["two-sizes", "mixed-batch"])
@families
def test_items_do_not_see_each_other(name, case):
    model, inputs = prompt(name, case)
    items = FAMILIES[name].items(model, CASES[case])
    with captured(model) as call, ipcv.compress(model, METHOD):
        model(**inputs)
    together = [flat(call["last"])[torch.cat(item.groups)] for item in items]
    media = [medium for media in CASES[case] for medium in media]
    for medium, expected in zip(media, together, strict=True):
        inputs = FAMILIES[name].inputs(model, [[medium]])
        (item,) = FAMILIES[name].items(model, [[medium]])
        with captured(model) as call, ipcv.compress(model, METHOD):
            model(**inputs)
        assert_close(flat(call["last"])[torch.cat(item.groups)], expected)


@language_models
def test_prompts_do_not_see_each_other(name):
    model, inputs = prompt(name, "mixed-batch")
    with ipcv.compress(model, METHOD):
        together = model(**inputs).logits[:, -1]
        for media, expected in zip(CASES["mixed-batch"], together, strict=True):
            inputs = FAMILIES[name].inputs(model, [media])
            assert_close(model(**inputs).logits[0, -1], expected)


@language_models
def test_text_alone_is_left_alone(name):
    model = build(name)
    inputs = FAMILIES[name].inputs(model, [[], []])
    before = model(**inputs).logits
    with ipcv.compress(model, METHOD) as handle:
        assert torch.equal(model(**inputs).logits, before)
    assert len(handle.stats) == 0


@families
def test_all_hidden_states_have_full_length(name):
    model, inputs = prompt(name, "two-sizes")
    encoder = adapter_for(model).encoder
    with captured(model) as call:
        model(**inputs)
    args, kwargs = call["encoder_arguments"]
    kwargs |= {"output_hidden_states": True, "return_dict": True}
    with ipcv.compress(model, METHOD):
        model(**inputs)  # tiles per image are known in calls of the whole model only
        states = encoder(*args, **kwargs).hidden_states
    assert len({state.shape for state in states}) == 1
    if name in ("internvl", "llava_next", "llava_onevision"):
        return
    for rows, outputs in reference(name, "two-sizes", METHOD):
        for state, expected in zip(states[1:], outputs, strict=True):
            assert_close(flat(state)[rows], expected)


@pytest.mark.parametrize("hook_first", [True, False])
def test_hooks_on_the_last_block_see_all_rows(hook_first):
    model, inputs = prompt("qwen2_vl", "one-image")
    with (
        captured(model) if hook_first else ipcv.compress(model, METHOD) as first,
        ipcv.compress(model, METHOD) if hook_first else captured(model) as second,
    ):
        model(**inputs)
    assert len((first if hook_first else second)["last"]) == len(inputs["pixel_values"])


def next_step(name, inputs, token):
    """The same prompts, one token longer."""
    longer = inputs | {"input_ids": torch.cat([inputs["input_ids"], token], dim=1)}
    token_type = int(name == "paligemma")
    values = {"attention_mask": 1, "mm_token_type_ids": 0, "token_type_ids": token_type}
    for key, value in values.items():
        if key in inputs:
            column = torch.full_like(inputs[key][:, :1], value)
            longer[key] = torch.cat([inputs[key], column], dim=1)
    return longer


@language_models
def test_generate_equals_step_by_step(name):
    model, inputs = prompt(name, "mixed-batch")
    with ipcv.compress(model, METHOD):
        generated = model.generate(
            **inputs,
            max_new_tokens=3,
            min_new_tokens=3,
            suppress_tokens=SPECIAL_TOKENS,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        for step, logits in enumerate(generated.logits):
            assert_close(logits, model(**inputs).logits[:, -1])
            token = generated.sequences[:, -3 + step, None]
            inputs = next_step(name, inputs, token)


@families
def test_an_exception_does_not_spoil_the_next_call(name):
    model, inputs = prompt(name, "two-sizes")

    def fail(block, args):
        raise RuntimeError("out of luck")

    one_image = FAMILIES[name].inputs(model, CASES["one-image"])
    with ipcv.compress(model, METHOD):
        expected = model(**one_image)[0]
        hook = adapter_for(model).blocks[-1].register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="out of luck"):
            model(**inputs)
        hook.remove()
        assert torch.equal(model(**one_image)[0], expected)


@families
def test_two_threads(name):
    model = build(name)
    inputs = [FAMILIES[name].inputs(model, CASES[case]) for case in ("one-image", "two-sizes")] * 4

    def forward(inputs):
        with torch.no_grad():  # per thread
            return model(**inputs)[0]

    with ipcv.compress(model, METHOD), ThreadPoolExecutor(2) as pool:
        expected = [forward(i) for i in inputs]
        for actual, output in zip(pool.map(forward, inputs), expected, strict=True):
            assert torch.equal(actual, output)
