"""Every family, attention implementation and kind of batch, on tiny random models."""

from contextlib import contextmanager

import pytest
import torch

import ipcv
from ipcv.encoders.registry import adapter_for
from tests.encoders.families import FAMILIES, build
from tests.encoders.reference import batched_runner, compress_item, packed_runner

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
matrix = pytest.mark.parametrize(("name", "attention", "case"), MATRIX)
families = pytest.mark.parametrize("name", FAMILIES)

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
    """Per encoder call, the input and keyword arguments of the first block, and all outputs."""
    adapter = adapter_for(model)
    calls = []

    def enter(block, args, kwargs):
        states = args[0] if args else kwargs["hidden_states"]
        names = ("hidden_states", "attention_mask")
        calls.append({"states": states, "arguments": dict(zip(names, args)) | kwargs})

    def leave(block, args, output):
        calls[-1]["last"] = output

    def finish(encoder, args, output):
        calls[-1]["output"] = output

    hooks = [
        adapter.blocks[0].register_forward_pre_hook(enter, with_kwargs=True),
        adapter.blocks[-1].register_forward_hook(leave),
        adapter.encoder.register_forward_hook(finish),
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def flat(states):
    return states.reshape(-1, states.shape[-1])


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, atol=2e-5, rtol=2e-5)


@matrix
def test_nothing_changes_at_ratio_0_or_after_removal(name, attention, case):
    model, inputs = prompt(name, case, attention)
    before = model(**inputs)[0]
    with ipcv.compress(model, ipcv.IPCV(1, 0.0, 2, 3)) as handle:
        assert torch.equal(model(**inputs)[0], before)
        assert all(item.kept == item.patches for item in handle.stats.calls[-1].items)
    with ipcv.compress(model, METHOD):
        compressed = model(**inputs)[0]
    assert compressed.shape == before.shape
    assert not torch.equal(compressed, before)
    assert torch.equal(model(**inputs)[0], before)


def reference(name, case, method, attention="sdpa"):
    """Per item its rows, and the reference's outputs of every block for them."""
    model, inputs = prompt(name, case, attention)
    with captured(model) as calls:
        model(**inputs)
    states, arguments = flat(calls[0]["states"]), calls[0]["arguments"]
    blocks = adapter_for(model).blocks
    runner = packed_runner if "cu_seqlens" in arguments else batched_runner
    run = runner(blocks, arguments)
    for item in FAMILIES[name].items(model, CASES[case]):
        yield torch.cat(item.groups), compress_item(item, states, len(blocks), method, run)


@matrix
def test_equals_plain_loops(name, attention, case):
    method = ipcv.IPCV(2, 0.65, 1, 3)
    model, inputs = prompt(name, case, attention)
    with captured(model) as calls, ipcv.compress(model, method):
        model(**inputs)
    for rows, outputs in reference(name, case, method, attention):
        assert_close(flat(calls[0]["last"])[rows], outputs[-1])


@pytest.mark.parametrize("stabilization", [0, 2, 9])
@pytest.mark.parametrize("ratio", [0.35, 0.65, 0.9])
@families
def test_equals_plain_loops_at_other_settings(name, ratio, stabilization):
    method = ipcv.IPCV(1, ratio, stabilization, 3)
    model, inputs = prompt(name, "two-sizes")
    with captured(model) as calls, ipcv.compress(model, method):
        model(**inputs)
    for rows, outputs in reference(name, "two-sizes", method):
        assert_close(flat(calls[0]["last"])[rows], outputs[-1])
