"""The encoder of InternVL checkpoints with remote code, against the `transformers` one."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import transformers

import ipcv
from ipcv.stats import Stats
from ipcv.vision.pruning import PruningMethod
from tests.vision.adapters.families import SIDE, VISION, randomize

OLD_NAMES = {
    "cls_token": "class_embedding",
    "patch_embeddings.projection": "patch_embedding",
    "position_embeddings": "position_embedding",
    "encoder.layer.": "encoder.layers.",
    "attention.projection_layer": "attn.proj",
    "lambda_": "ls",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
}


@pytest.fixture
def in_vllm() -> Iterator[None]:
    """A process group of one."""
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.distributed import (
        cleanup_dist_env_and_memory,
        init_distributed_environment,
        initialize_model_parallel,
    )
    from vllm.utils.network_utils import get_open_port

    with set_current_vllm_config(VllmConfig()):
        address = f"tcp://127.0.0.1:{get_open_port()}"
        init_distributed_environment(1, 0, address, 0, backend="gloo")
        initialize_model_parallel()
        yield
    cleanup_dist_env_and_memory()


def renamed(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    result = {}
    for name, weight in weights.items():
        for new, old in OLD_NAMES.items():
            name = name.replace(new, old)
        if ".q_proj." in name:
            parts = [weights_of(weights, name, x) for x in ("q_proj", "k_proj", "v_proj")]
            result[name.replace("attention.q_proj", "attn.qkv")] = torch.cat(parts)
        elif "_proj." not in name:
            result[name] = weight
    return result


def weights_of(weights: dict[str, torch.Tensor], name: str, part: str) -> torch.Tensor:
    return weights[name.replace("encoder.layers.", "encoder.layer.").replace("q_proj", part)]


@pytest.mark.parametrize("vision", [ipcv.IPCV(1, 0.6, 2), ipcv.Adaptive(0.6)], ids=str)
@pytest.mark.parametrize("attention", ["sdpa", "full"])
def test_encoder(in_vllm: None, attention: str, vision: PruningMethod) -> None:
    from vllm.model_executor.models.intern_vit import InternVisionModel

    from ipcv.integrations.vllm.batched_towers import InternVLChatTower

    sizes = VISION | {"image_size": [SIDE, SIDE], "patch_size": [4, 4], "attention_bias": True}
    reference = transformers.InternVLVisionModel(
        transformers.InternVLVisionConfig(**sizes, use_mean_pooling=True)
    ).eval()
    randomize(reference)
    config: Any = transformers.PretrainedConfig(
        **VISION | {"image_size": SIDE, "patch_size": 4, "layer_norm_eps": 1e-6},
        norm_type="layer_norm",
        qkv_bias=True,
        qk_normalization=False,
        initializer_factor=0.1,
        hidden_act="gelu",
    )
    encoder = InternVisionModel(config)
    encoder.load_state_dict(renamed(reference.state_dict()))
    for module in encoder.eval().modules():
        if hasattr(module, "quant_method"):  # what vLLM does behind loading
            module.quant_method.process_weights_after_loading(module)
    tower = InternVLChatTower(encoder)
    tower.asking = attention
    pixels = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain = reference(pixels).last_hidden_state
        torch.testing.assert_close(encoder(pixel_values=pixels), plain, rtol=1e-4, atol=1e-5)
        with ipcv.compress(reference, vision):
            expected = reference(pixels).last_hidden_state
        engine = vision.engine(tower, Stats().add)
        engine.attach()
        result = encoder(pixel_values=pixels)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)
    assert (result - plain).abs().max() > 0.01
