"""What only a GPU can show: nothing waits for the device, and the host keeps up.

What a CPU can show as well runs there where there is no GPU.
"""

import warnings
from copy import deepcopy
from dataclasses import replace
from statistics import median

import pytest
import torch

import ipcv
from fixed_lengths import captured
from ipcv.bench.clock import timed
from ipcv.bench.cost.memory import peak_bytes
from ipcv.bench.cost.shapes import build as build_shape
from ipcv.bench.cost.shapes import shape_config
from ipcv.bench.cost.subject import load_subject
from ipcv.bench.cost.workload import Workload
from ipcv.core.hooks import states_of
from ipcv.families import adapter_for
from tests.vision.adapters.families import FAMILIES, build

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
needs_gpu = pytest.mark.skipif(DEVICE.type == "cpu", reason="needs a GPU")

METHOD = ipcv.IPCV(prune_layer=1, reduction_ratio=0.65, stabilization_layers=2, num_neighbors=3)
BATCHED = ["internvl", "llava-clip", "gemma3"]
PACKED = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"]


@pytest.fixture(autouse=True)
def as_precise_as_a_cpu(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    with torch.no_grad():
        yield


def encoder_call(name, media, device=DEVICE, dtype=torch.float32):
    """A copy of the encoder on a device, and a call of it alone."""
    model = build(name)
    inputs = FAMILIES[name].inputs(model, [media])
    encoder = deepcopy(adapter_for(model).encoder).to(device, dtype)
    pixels = inputs["pixel_values"].to(device, dtype)
    if name in PACKED:
        grid = inputs["image_grid_thw"].to(device)
        return encoder, lambda: encoder(pixels, grid_thw=grid).last_hidden_state
    return encoder, lambda: encoder(pixels).last_hidden_state


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


@needs_gpu
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


@needs_gpu
@pytest.mark.parametrize("name", PACKED)
def test_packed_encoders_wait_less_than_uncompressed(name, record_property):
    """Their own blocks read segment lengths back; pruned ones need no more than one such read."""
    encoder, call = encoder_call(name, ["small", "large"])
    call()
    uncompressed = waits(call)
    with ipcv.compress(encoder, METHOD):
        call()
        compressed = waits(call)
    record_property("waits", compressed)
    record_property("waits_uncompressed", uncompressed)
    assert compressed <= uncompressed


@needs_gpu
@pytest.mark.parametrize("name", [*BATCHED, *PACKED])
def test_equals_the_cpu(name):
    outputs = []
    for device in (DEVICE, "cpu"):
        encoder, call = encoder_call(name, ["small", "large"], device)
        with ipcv.compress(encoder, METHOD):
            outputs.append(call().cpu())
    torch.testing.assert_close(*outputs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", [*BATCHED, *PACKED])
def test_half_precision_equals_fp32_on_a_cpu(name, record_property):
    """With a choice that rounding cannot change; a few neighbours it can."""
    method = replace(METHOD, selector="random")
    errors = []
    for vision in (ipcv.IPCV(1, reduction_ratio=0), method):
        outputs = []
        for device, dtype in ((DEVICE, torch.bfloat16), ("cpu", torch.float32)):
            encoder, call = encoder_call(name, ["small", "large"], device, dtype)
            with ipcv.compress(encoder, vision):
                outputs.append(call().cpu().float())
        errors.append(float((outputs[0] - outputs[1]).norm() / outputs[1].norm()))
    uncompressed, compressed = errors
    record_property("error", compressed)
    record_property("error_uncompressed", uncompressed)
    assert 0 < uncompressed < 0.05
    assert compressed < 3 * uncompressed


@needs_gpu
@pytest.mark.parametrize("name", ["internvl", "qwen2_vl"])
def test_calls_on_several_streams(name):
    """Calls that the device may run at the same time do not share what they write to."""
    encoder, call = encoder_call(name, ["small", "large"])
    with ipcv.compress(encoder, METHOD):
        expected, outputs = call(), []
        streams = [torch.cuda.Stream() for _ in range(4)]
        torch.cuda.synchronize()
        for _ in range(5):
            for stream in streams:
                with torch.cuda.stream(stream):
                    outputs.append(call())
        torch.cuda.synchronize()
    for output in outputs:
        torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


@needs_gpu
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")  # of the compiler
@pytest.mark.parametrize("name", ["internvl", "qwen2_vl"])
def test_compiles(name):
    encoder, call = encoder_call(name, ["small"])
    with ipcv.compress(encoder, METHOD):
        expected = call()
        for block in adapter_for(encoder).blocks:
            block.mlp.compile()
        torch.testing.assert_close(call(), expected, atol=1e-4, rtol=1e-4)


@needs_gpu
def test_blocks_at_fixed_lengths_as_a_graph():
    """A replay reads what the input holds then."""
    encoder, _ = encoder_call("internvl", ["small"])
    states = torch.randn(1, 65, 32, device=DEVICE)
    block = adapter_for(encoder).blocks[0]
    replay = captured(lambda: states_of(block(states)))
    states.normal_()
    torch.testing.assert_close(replay(), states_of(block(states)))


def test_peak_memory(record_property):
    """Of the embedded model's encoder, with 1,024 patches: no more than uncompressed."""
    encoder = load_subject(dtype="bfloat16", device=str(DEVICE))
    inputs, peaks = Workload(448).for_encoder(encoder), []
    for ratio in (0, 0.65):
        with ipcv.compress(encoder, ipcv.IPCV(2, ratio, 2)):
            encoder(**inputs)
            peaks.append(peak_bytes(lambda: encoder(**inputs), DEVICE))
    uncompressed, compressed = peaks
    record_property("peak", compressed)
    record_property("peak_uncompressed", uncompressed)
    assert compressed <= 1.05 * uncompressed


@needs_gpu
@pytest.mark.slow
def test_host_overhead(record_property):
    """With 256 patches the host sets the pace: at most 0.3 ms more than uncompressed."""
    encoder = build_shape(shape_config("qwen2-vl-7b"), torch.bfloat16, DEVICE, vision_only=True)
    pixels = torch.randn(256, 1176, device=DEVICE, dtype=torch.bfloat16)
    grid = torch.tensor([[1, 16, 16]], device=DEVICE)
    method, uncompressed, compressed = ipcv.preset(encoder, published=True).vision, [], []

    def call():
        encoder(pixels, grid_thw=grid)

    for _ in range(30):
        uncompressed.append(timed(call, DEVICE).host)
        with ipcv.compress(encoder, method):
            compressed.append(timed(call, DEVICE).host)
    overhead = median(compressed[5:]) - median(uncompressed[5:])
    record_property("overhead_ms", overhead)
    record_property("uncompressed_ms", median(uncompressed[5:]))
    assert overhead <= 0.3
