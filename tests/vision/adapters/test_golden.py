"""The published code's numbers on tiny random models: see `tests/golden`."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import InternVLVisionConfig, InternVLVisionModel
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel

import ipcv

GOLDEN = Path(__file__).parents[2] / "golden"
IMPLEMENTATIONS = ("sdpa", "eager")


def load(name):
    """Configuration, weights and cases; each case with its settings and tensors."""
    description = json.loads((GOLDEN / f"{name}.json").read_text())
    tensors = load_file(GOLDEN / f"{name}.safetensors")
    weights = {k.removeprefix("weights."): v for k, v in tensors.items() if k.startswith("weights")}
    cases = [
        case | {k.split(".", 1)[1]: v for k, v in tensors.items() if k.startswith(f"{i}.")}
        for i, case in enumerate(description["cases"])
    ]
    return description["vision_config"], weights, cases


def method(case):
    names = ("prune_layer", "reduction_ratio", "stabilization_layers", "num_neighbors")
    return ipcv.IPCV(**{name: case[name] for name in names}, scope="batch")


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)


QWEN = load("qwen2_vl_vision")


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("case", QWEN[2], ids=lambda case: str(case["grid_thw"].tolist()))
def test_qwen2_vl(case, implementation):
    settings, weights, _ = QWEN
    config = Qwen2VLVisionConfig(**settings, attn_implementation=implementation)
    encoder = Qwen2VisionTransformerPretrainedModel(config).eval()
    encoder.load_state_dict(weights)
    with torch.no_grad(), ipcv.compress(encoder, method(case)) as handle:
        output = encoder(case["pixel_values"].float(), grid_thw=case["grid_thw"])
        starts = [0, *case["grid_thw"].prod(dim=1).cumsum(0).tolist()]
        kept = [x + start for x, start in zip(handle.kept_indices, starts, strict=False)]
        assert torch.equal(torch.cat(kept), case["kept_indices"])
    assert_close(output.last_hidden_state, case["last_hidden_state"])
    assert_close(output.pooler_output, case["merged"])


INTERNVL = load("internvl_vision")
STOCK_NAMES = {
    r"class_embedding": "cls_token",
    r"position_embedding$": "position_embeddings",
    r"patch_embedding": "patch_embeddings.projection",
    r"encoder\.layers": "encoder.layer",
    r"attn\.proj": "attention.projection_layer",
    r"attn": "attention",
    r"norm1": "layernorm_before",
    r"norm2": "layernorm_after",
    r"ls(\d)": r"lambda_\1",
}


def stock_internvl_weights(weights):
    """Original InternViT weights by their names in `transformers`, `qkv` split in three."""
    stock = {}
    for name, weight in weights.items():
        for original, replacement in STOCK_NAMES.items():
            name = re.sub(original, replacement, name)
        if ".qkv." in name:
            for part, piece in zip("qkv", weight.chunk(3), strict=True):
                stock[name.replace("qkv", f"{part}_proj")] = piece
        else:
            stock[name] = weight
    return stock


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("case", INTERNVL[2], ids=lambda case: f"{case['tiles']}-tiles")
def test_internvl(case, implementation):
    settings, weights, _ = INTERNVL
    config = InternVLVisionConfig(
        **{k: v for k, v in settings.items() if k not in ("qkv_bias", "qk_normalization")},
        attention_bias=settings["qkv_bias"],
        use_qk_norm=settings["qk_normalization"],
        attn_implementation=implementation,
    )
    encoder = InternVLVisionModel(config).eval()
    encoder.load_state_dict(stock_internvl_weights(weights))
    with torch.no_grad(), ipcv.compress(encoder, method(case)) as handle:
        output = encoder(case["pixel_values"].float())
        kept = torch.stack(handle.kept_indices)
    assert torch.equal(kept, case["kept_patch_indices"].view_as(kept))
    assert_close(output.last_hidden_state, case["last_hidden_state"])
