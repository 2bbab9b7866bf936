"""What only a GPU can show: nothing waits for the device, and the host keeps up."""

import warnings
from statistics import median

import pytest
import torch

import ipcv
from ipcv.bench.clock import milliseconds
from ipcv.bench.cost.shapes import build as build_shape
from ipcv.bench.cost.shapes import shape_config
from ipcv.families import adapter_for
from tests.vision.adapters.families import FAMILIES, build

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

METHOD = ipcv.IPCV(prune_layer=1, reduction_ratio=0.65, stabilization_layers=2, num_neighbors=3)
BATCHED = ["internvl", "llava-clip", "gemma3"]
PACKED = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"]


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


def encoder_call(name, media):
    """The encoder on the GPU, and a call of it alone."""
    model, inputs = build(name), FAMILIES[name].inputs(build(name), [media])
    encoder = adapter_for(model).encoder.to("cuda")
    pixels = inputs["pixel_values"].cuda()
    if name in PACKED:
        grid = inputs["image_grid_thw"].cuda()
        return encoder, lambda: encoder(pixels, grid_thw=grid).last_hidden_state
    return encoder, lambda: encoder(pixels).last_hidden_state


@pytest.fixture(autouse=True)
def back_to_the_cpu():
    yield
    for name in [*BATCHED, *PACKED]:
        build(name).to("cpu")


def waits(call):
    """How often a call waits for the device."""
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught)


@pytest.mark.parametrize("name", BATCHED)
def test_batched_encoders_do_not_wait(name):
    encoder, call = encoder_call(name, ["small", "large"])
    with ipcv.compress(encoder, METHOD):
        call()
        torch.cuda.set_sync_debug_mode("error")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", PACKED)
def test_packed_encoders_wait_less_than_uncompressed(name):
    """Their own blocks read segment lengths back; pruned ones need no more than one such read."""
    encoder, call = encoder_call(name, ["small", "large"])
    call()
    uncompressed = waits(call)
    with ipcv.compress(encoder, METHOD):
        call()
        assert waits(call) <= uncompressed


@pytest.mark.parametrize("name", [*BATCHED, *PACKED])
def test_equals_the_cpu(name):
    encoder, call = encoder_call(name, ["small", "large"])
    with ipcv.compress(encoder, METHOD):
        output = call().cpu()
        pixels = FAMILIES[name].inputs(build(name), [["small", "large"]])
        encoder.to("cpu")
        grid = {"grid_thw": pixels["image_grid_thw"]} if name in PACKED else {}
        expected = encoder(pixels["pixel_values"], **grid).last_hidden_state
    torch.testing.assert_close(output, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")  # of the compiler
@pytest.mark.parametrize("name", ["internvl", "qwen2_vl"])
def test_compiles(name):
    encoder, call = encoder_call(name, ["small"])
    with ipcv.compress(encoder, METHOD):
        expected = call()
        for block in adapter_for(encoder).blocks:
            block.mlp.compile()
        try:
            torch.testing.assert_close(call(), expected, atol=1e-4, rtol=1e-4)
        finally:
            for block in adapter_for(encoder).blocks:
                block.mlp._compiled_call_impl = None


@pytest.mark.slow
def test_host_overhead():
    """With 256 patches the host sets the pace: at most 0.3 ms more than uncompressed."""
    config = shape_config("qwen2-vl-7b")
    encoder = build_shape(config, torch.bfloat16, torch.device("cuda"), vision_only=True)
    pixels = torch.randn(256, 1176, device="cuda", dtype=torch.bfloat16)
    grid = torch.tensor([[1, 16, 16]], device="cuda")
    uncompressed, compressed = [], []
    for _ in range(30):
        uncompressed.append(timed(lambda: encoder(pixels, grid_thw=grid)))
        with ipcv.compress(encoder, ipcv.preset(encoder).vision):
            compressed.append(timed(lambda: encoder(pixels, grid_thw=grid)))
    assert median(compressed[5:]) - median(uncompressed[5:]) <= 0.3


def timed(call):
    start = milliseconds()
    call()
    return milliseconds() - start
