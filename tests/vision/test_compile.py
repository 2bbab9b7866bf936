"""`torch.compile` of compressed encoders, without the compiler's back end."""

from functools import cache

import pytest
import torch

import ipcv
from ipcv.families import adapter_for
from tests.vision.adapters.families import FAMILIES, built


@cache
def build(name):
    """A model of our own: those once asked for hidden states keep hooks that break graphs."""
    return built.__wrapped__(FAMILIES[name], "sdpa")


METHOD = ipcv.IPCV(prune_layer=2, reduction_ratio=0.65, stabilization_layers=1, num_neighbors=3)


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def inputs_of(name, media):
    model = build(name)
    return adapter_for(model), FAMILIES[name].inputs(model, [media])


@torch.no_grad()
@pytest.mark.parametrize("name", ["internvl", "llava-clip", "gemma3"])
def test_whole_encoder_in_one_graph(name):
    adapter, inputs = inputs_of(name, ["small", "large"])
    pixels = inputs["pixel_values"]
    with ipcv.compress(build(name), METHOD):
        expected = adapter.encoder(pixels).last_hidden_state
        compiled = torch.compile(adapter.encoder, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(pixels).last_hidden_state, expected)


@torch.no_grad()
@pytest.mark.parametrize("media", [["small"], ["small", "large"]], ids=["one", "two"])
@pytest.mark.parametrize("name", ["qwen2_vl", "qwen3_vl"])
def test_pruned_blocks_in_one_graph_each(name, media):
    """The blocks in front of them break graphs by themselves: they read lengths back."""
    adapter, inputs = inputs_of(name, media)
    pixels, grid = inputs["pixel_values"], inputs["image_grid_thw"]
    blocks = adapter.blocks[METHOD.prune_layer :]
    with ipcv.compress(build(name), METHOD):
        expected = adapter.encoder(pixels, grid_thw=grid).last_hidden_state
        try:
            for block in blocks:
                block.compile(backend="eager", fullgraph=True)
            output = adapter.encoder(pixels, grid_thw=grid).last_hidden_state
        finally:
            for block in blocks:
                block._compiled_call_impl = None
        torch.testing.assert_close(output, expected)


@torch.no_grad()
@pytest.mark.parametrize("method", [METHOD, ipcv.Adaptive(0.5)], ids=lambda m: type(m).__name__)
def test_what_is_compiled_serves_all_calls(method):
    model = build("siglip_vision_model")
    prompts = [
        FAMILIES["siglip_vision_model"].inputs(model, [[name]]) for name in ("a", "bb", "ccc")
    ]
    before = model(**prompts[0])[0]
    with ipcv.compress(model, method) as handle:
        expected = [model(**prompt)[0] for prompt in prompts]
        eager = len(handle.stats)
        counters = torch._dynamo.utils.counters
        counters.clear()
        compiled, graphs = torch.compile(model, backend="eager"), set()
        for prompt, states in zip(prompts, expected, strict=True):
            torch.testing.assert_close(compiled(**prompt)[0], states)
            graphs.add(counters["stats"]["unique_graphs"])
        assert len(graphs) == 1
        assert len(handle.stats) == eager + 1
        assert handle.stats.calls[-1].items == handle.stats.calls[-2].items
    assert torch.equal(model(**prompts[0])[0], before)
    torch.testing.assert_close(compiled(**prompts[0])[0], before)


@torch.no_grad()
def test_a_tolerance_is_not_exported():
    adapter, inputs = inputs_of("internvl", ["small"])
    method = ipcv.Adaptive(0.5, tolerance=0.2)
    with (
        ipcv.compress(build("internvl"), method),
        pytest.raises(RuntimeError, match="depends on the picture"),
    ):
        torch.export.export(adapter.encoder, (inputs["pixel_values"],))
