"""The real dimensions of well-known models, to measure cost without their weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedConfig

from ipcv.bench.cost.memory import require_memory
from ipcv.core.config import require_name
from ipcv.families import find_encoder


class Dimensions(NamedTuple):
    """A model type, its vision and text configuration, and whether the word embeddings are tied."""

    model_type: str
    vision: dict[str, Any]
    text: dict[str, Any]
    tied: bool = False


def _qwen2(width: int, layers: int, heads: int, groups: int, inner: int) -> dict[str, Any]:
    return {
        "vocab_size": 151_936,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "intermediate_size": inner,
    }


QWEN2_1_5B = _qwen2(1536, 28, 12, 2, 8960)
QWEN2_3B = _qwen2(2048, 36, 16, 2, 11_008)
QWEN2_7B = _qwen2(3584, 28, 28, 4, 18_944)
QWEN3_4B = _qwen2(2560, 36, 32, 8, 9728) | {"head_dim": 128}
QWEN3_8B = _qwen2(4096, 36, 32, 8, 12_288) | {"head_dim": 128}


def _mrope(text: dict[str, Any], sections: list[int]) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": sections}
    return text | {"rope_parameters": rope}


def _qwen2_vl(text: dict[str, Any], tied: bool) -> Dimensions:
    vision = {"depth": 32, "embed_dim": 1280, "num_heads": 16, "hidden_size": text["hidden_size"]}
    return Dimensions("qwen2_vl", vision, _mrope(text, [16, 24, 24]), tied)


def _qwen2_5_vl(text: dict[str, Any], tied: bool) -> Dimensions:
    vision = {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": text["hidden_size"],
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
    }
    return Dimensions("qwen2_5_vl", vision, _mrope(text, [16, 24, 24]), tied)


def _qwen3_vl(
    text: dict[str, Any], depth: int, width: int, inner: int, taps: list[int], tied: bool
) -> Dimensions:
    vision = {
        "depth": depth,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_heads": 16,
        "patch_size": 16,
        "out_hidden_size": text["hidden_size"],
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": taps,
    }
    return Dimensions("qwen3_vl", vision, _mrope(text, [24, 20, 20]), tied)


INTERN_VIT = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "image_size": [448, 448],
    "patch_size": [14, 14],
}
SIGLIP_VISION = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "num_hidden_layers": 26,
    "num_attention_heads": 16,
    "intermediate_size": 4304,
    "image_size": 384,
    "patch_size": 14,
    "vision_use_head": False,
}
QWEN2 = {"model_type": "qwen2"}

DIMENSIONS = {
    "qwen2-vl-2b": _qwen2_vl(QWEN2_1_5B, tied=True),
    "qwen2-vl-7b": _qwen2_vl(QWEN2_7B, tied=False),
    "qwen2.5-vl-3b": _qwen2_5_vl(QWEN2_3B, tied=True),
    "qwen2.5-vl-7b": _qwen2_5_vl(QWEN2_7B, tied=False),
    "qwen3-vl-4b": _qwen3_vl(QWEN3_4B, 24, 1024, 4096, [5, 11, 17], tied=True),
    "qwen3-vl-8b": _qwen3_vl(QWEN3_8B, 27, 1152, 4304, [8, 16, 24], tied=False),
    "internvl3-2b": Dimensions("internvl", INTERN_VIT, QWEN2_1_5B | QWEN2),
    "internvl3-8b": Dimensions("internvl", INTERN_VIT, QWEN2_7B | QWEN2),
    "llava-onevision-7b": Dimensions("llava_onevision", SIGLIP_VISION, QWEN2_7B | QWEN2),
}
"""The dimensions that the checkpoints have. LLaVA-OneVision uses 26 of its encoder's 27 blocks."""


def shape_config(name: str, depth: int | None = None) -> PreTrainedConfig:
    """The configuration of a shape.

    Args:
        name: one of `DIMENSIONS`.
        depth: blocks of the vision encoder instead of all; as often with full attention, or tapped.

    Raises:
        ValueError: an unknown shape, or a depth that it has not.
    """
    require_name("shape", name, DIMENSIONS)
    model_type, vision, text, tied = DIMENSIONS[name]
    config = AutoConfig.for_model(
        model_type, vision_config=vision, text_config=text, tie_word_embeddings=tied
    )
    if depth is not None:
        _shorten(config.vision_config, depth)
    return config


def _shorten(vision: Any, depth: int) -> None:
    name = "depth" if hasattr(vision, "depth") else "num_hidden_layers"
    full = getattr(vision, name)
    if not 2 <= depth <= full:
        raise ValueError(f"depth must be between 2 and the encoder's {full} blocks, got {depth}")
    setattr(vision, name, depth)
    if hasattr(vision, "fullatt_block_indexes"):
        count = max(1, round(len(vision.fullatt_block_indexes) * depth / full))
        vision.fullatt_block_indexes = [(i + 1) * depth // count - 1 for i in range(count)]
    if hasattr(vision, "deepstack_visual_indexes"):
        taps = {(i + 1) * depth // full - 1 for i in vision.deepstack_visual_indexes}
        vision.deepstack_visual_indexes = sorted(i for i in taps if i >= 0)


def build(
    config: PreTrainedConfig, dtype: torch.dtype, device: torch.device, vision_only: bool
) -> nn.Module:
    """A model of that configuration with random weights, or its vision encoder alone.

    Raises:
        ValueError: it does not fit into the memory that is free; nothing was allocated.
    """
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype)
    if vision_only:
        model = find_encoder(model)[1]
    require_memory(model, dtype, device)
    with torch.device(device):
        built: nn.Module = type(model)._from_config(model.config, dtype=dtype)
    return built.eval()
