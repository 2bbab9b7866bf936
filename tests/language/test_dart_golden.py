"""The published code's numbers with DART on a tiny random Qwen2-VL: see `tests/golden`."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

import ipcv

GOLDEN = Path(__file__).parents[1] / "golden"
DESCRIPTION = json.loads((GOLDEN / "qwen2_vl_dart.json").read_text())
TENSORS = load_file(GOLDEN / "qwen2_vl_dart.safetensors")


def golden_model(implementation):
    text = dict(DESCRIPTION["text_config"])
    ids = {name: text.pop(name) for name in list(text) if name.endswith("_token_id")}
    sections, theta = text.pop("mrope_section"), text.pop("rope_theta")
    text["rope_parameters"] = {
        "rope_type": "default",
        "rope_theta": theta,
        "mrope_section": sections,
    }
    special = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    config = Qwen2VLConfig(
        text_config=text | special, vision_config=DESCRIPTION["vision_config"], **ids
    )
    config._attn_implementation = implementation
    model = Qwen2VLForConditionalGeneration(config).eval()
    weights = {
        name.removeprefix("weights."): weight
        for name, weight in TENSORS.items()
        if name.startswith("weights.")
    }
    model.load_state_dict(stock_names(weights))
    return model


def stock_names(weights):
    """Weights by their names in `transformers`."""
    stock = {}
    for name, weight in weights.items():
        if name.startswith("visual."):
            name = f"model.{name}"
        elif name.startswith("model.") and not name.startswith("model.visual."):
            name = name.replace("model.", "model.language_model.", 1)
        stock[name] = weight
    return stock


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def model(request):
    return golden_model(request.param)


@pytest.mark.parametrize("index", range(3))
def test_dart(model, index):
    case = DESCRIPTION["cases"][index]
    tensors = {
        name.split(".", 1)[1]: tensor
        for name, tensor in TENSORS.items()
        if name.startswith(f"{index}.")
    }
    vision = case["vision"] and ipcv.IPCV(**case["vision"])
    language = ipcv.DART(**case["dart"], normalize=False)
    with torch.no_grad(), ipcv.compress(model, vision, language) as handle:
        output = model(
            input_ids=tensors["input_ids"],
            position_ids=tensors["position_ids"],
            pixel_values=tensors["pixel_values"].float(),
            image_grid_thw=tensors["grid_thw"],
        )
    (prefill,) = handle.stats.prefills
    start = (tensors["input_ids"] == model.config.image_token_id).int().argmax()
    (kept,) = prefill.kept_indices
    assert (kept + start).tolist() == tensors["dart_kept_positions"].tolist()
    assert len(kept) == case["kept_image_tokens"]
    torch.testing.assert_close(output.logits[:, -1], tensors["last_logits"], atol=1e-3, rtol=0)
