"""Built-in shapes have the size of the checkpoints they stand for."""

import pytest
import torch
from transformers import AutoModelForImageTextToText

from ipcv.bench.cost.shapes import DIMENSIONS, build, shape_config
from ipcv.bench.cost.workload import Workload
from ipcv.families import adapter_for, find_encoder
from tests.vision.adapters.families import build as build_tiny

BILLIONS = {  # parameters, as the model cards have them
    "qwen2-vl-2b": 2.21,
    "qwen2-vl-7b": 8.29,
    "qwen2.5-vl-3b": 3.75,
    "qwen2.5-vl-7b": 8.29,
    "qwen3-vl-4b": 4.44,
    "qwen3-vl-8b": 8.77,
    "internvl3-2b": 2.09,
    "internvl3-8b": 7.94,
    "llava-onevision-7b": 8.03,
}


@pytest.mark.parametrize("name", DIMENSIONS)
def test_parameters(name):
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(shape_config(name))
    assert sum(p.numel() for p in model.parameters()) / 1e9 == pytest.approx(
        BILLIONS[name], abs=0.01
    )
    assert find_encoder(model)


def test_fewer_blocks():
    vision = shape_config("qwen2.5-vl-7b", 8).vision_config
    assert vision.depth == 8
    assert vision.fullatt_block_indexes == [7]  # one in eight, as 4 of 32
    assert shape_config("qwen3-vl-8b", 9).vision_config.deepstack_visual_indexes == [2, 4, 7]
    assert shape_config("internvl3-2b", 3).vision_config.num_hidden_layers == 3
    for depth in (1, 33):
        with pytest.raises(ValueError, match="between 2 and the encoder's 32"):
            shape_config("qwen2-vl-2b", depth)
    with pytest.raises(ValueError, match="shape must be one of qwen2-vl-2b"):
        shape_config("gpt")


def test_a_vision_encoder_alone_runs():
    encoder = build(shape_config("internvl3-2b", 2), torch.float32, torch.device("cpu"), True)
    assert len(adapter_for(encoder).blocks) == 2
    with torch.inference_mode():
        output = encoder(**Workload(448).for_encoder(encoder)).last_hidden_state
    assert output.shape == (1, 1025, 1024)


@pytest.mark.parametrize(
    "name", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl", "llava_onevision"]
)
@pytest.mark.parametrize("images", [1, 2])
def test_prompts_of_noise_fit_their_images(name, images):
    model = build_tiny(name)
    inputs = Workload(64, images).for_model(model)
    with torch.no_grad():
        model(**inputs)  # raises where placeholders and features do not match


def test_workloads():
    model = build_tiny("qwen2_vl")
    video = Workload(64, frames=6).for_encoder(model)
    assert video["grid_thw"].tolist() == [[3, 16, 16]]
    assert len(video["hidden_states"]) == 3 * 256
    assert [str(w) for w in (Workload(448, 2), Workload(336, frames=8))] == [
        "2 x 448 px",
        "8 frames of 336 px",
    ]
    with pytest.raises(ValueError, match="encoder alone"):
        Workload(64, frames=6).for_model(model)
    with pytest.raises(ValueError, match="at least 28 pixels"):
        Workload(20)
    for slip in ({"side": 99_999}, {"images": 10**9}, {"frames": 10**9}):
        with pytest.raises(ValueError, match="pixels is more than 1,000,000,000"):
            Workload(**slip)
    with pytest.raises(ValueError, match="measure its encoder alone"):
        Workload(64).for_model(build_tiny("smolvlm"))
