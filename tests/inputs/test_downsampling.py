"""Images shrink on their way into the processor."""

import pytest
import torch
from PIL import Image

from ipcv.baselines import Downsample
from ipcv.inputs.loading import load
from ipcv.inputs.prompt import Media, build_inputs
from tests.checkpoints import save_qwen2_vl

IMAGE = Image.linear_gradient("L").resize((224, 112)).convert("RGB")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return load(save_qwen2_vl(tmp_path_factory.mktemp("model")), device="cpu")


def grid(loaded, processor):
    inputs = build_inputs(loaded[0], processor, [Media((IMAGE,))], "What?")
    (grid,) = inputs["image_grid_thw"].tolist()
    is_image = inputs["input_ids"] == loaded[0].config.image_token_id
    assert int(is_image.sum()) == grid[1] * grid[2] // 4
    return grid, inputs["pixel_values"]


def test_wrapped_processor_shrinks_and_the_given_one_stays(loaded):
    _, processor = loaded
    before, pixels = grid(loaded, processor)
    half, shrunk = grid(loaded, Downsample(0.5).wrap(processor))
    assert half == [1, before[1] // 2, before[2] // 2]
    _, expected = grid(loaded, processor)
    assert torch.equal(pixels, expected)
    inputs = build_inputs(loaded[0], processor, [Media((Downsample(0.5)(IMAGE),))], "What?")
    assert torch.equal(shrunk, inputs["pixel_values"])


def test_sizes():
    assert Downsample(0.5)(IMAGE).size == (112, 56)
    assert Downsample(1)(IMAGE).size == IMAGE.size
    assert Downsample(0.001)(IMAGE).size == (1, 1)


@pytest.mark.parametrize("factor", [0, -1, 1.5, True, "half", float("nan")])
def test_factor_is_checked(factor):
    with pytest.raises(ValueError, match="factor must be"):
        Downsample(factor)
