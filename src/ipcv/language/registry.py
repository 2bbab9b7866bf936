"""The language models that can be pruned, and their parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin

from ipcv.core.arguments import Arguments

DECODERS = (
    "Qwen2VLTextModel",
    "Qwen2_5_VLTextModel",
    "Qwen3VLTextModel",
    "Qwen3VLMoeTextModel",
    "Qwen2Model",
    "Qwen3Model",
    "LlamaModel",
    "MistralModel",
    "GemmaModel",
    "Gemma2Model",
    "Gemma3TextModel",
)
"""Classes of `transformers`: full or sliding-window attention with rotary embeddings."""

MODEL_TYPES = (
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "qwen3_vl_moe",
    "internvl",
    "llava",
    "llava_next",
    "llava_onevision",
    "gemma3",
    "paligemma",
    "idefics3",
    "smolvlm",
)
"""`config.model_type` of the models whose language model is one of those."""

FIXED_IMAGE_LENGTH = ("llava", "paligemma")
"""Models that make equally many tokens of every image and may put them side by side."""


@dataclass(frozen=True)
class Decoder:
    """A language model inside a multimodal one.

    Attributes:
        generator: the full model, which generates.
        owner: the multimodal model in it, whose forward gets the token ids and the pixels.
        model: the language model, a stack of layers.
    """

    generator: nn.Module
    owner: nn.Module
    model: nn.Module

    @property
    def calls(self) -> list[tuple[nn.Module, str]]:
        """Methods during which images go through the encoder and then the language model."""
        return [(self.generator, "generate"), (self.owner, "forward")]

    @property
    def config(self) -> Any:
        """Of the language model."""
        return self.model.config

    @property
    def layers(self) -> list[nn.Module]:
        """Its layers."""
        return list(self.model.get_submodule("layers").children())

    @property
    def norm(self) -> nn.Module:
        """The norm behind the last layer."""
        return self.model.get_submodule("norm")

    @property
    def visual_ids(self) -> list[int]:
        """Ids of the placeholders of images and videos."""
        names = ("image_token_id", "video_token_id")
        ids = [getattr(self.owner.config, name, None) for name in names]
        return [token_id for token_id in ids if isinstance(token_id, int)]

    @property
    def first_prunable(self) -> int:
        """Layers before this one need all image tokens: DeepStack adds features behind them."""
        vision: Any = getattr(self.owner.config, "vision_config", None)
        return len(getattr(vision, "deepstack_visual_indexes", None) or ())

    def window(self, index: int) -> int | None:
        """How many of the latest tokens a layer attends, if not all."""
        window = getattr(self.layers[index].self_attn, "sliding_window", None)
        return window if isinstance(window, int) else None

    def key_bytes(self, dtype: torch.dtype) -> int:
        """Bytes of the keys and values of one token in one layer."""
        config = self.config
        head_dim = getattr(config, "head_dim", None)
        head_dim = head_dim or config.hidden_size // config.num_attention_heads
        return int(2 * config.num_key_value_heads * head_dim * dtype.itemsize)

    def tokens_per_image(self, arguments: Arguments, num_tokens: int) -> int | None:
        """The tokens that every image has, where that is the same number for all.

        `arguments` are those of the multimodal model, to which `generate` hands encoded images.
        """
        config: Any = self.owner.config
        encoded = (arguments.get("mm_encoder_outputs") or {}).get("image")
        images = arguments.get("pixel_values") if encoded is None else encoded.pooler_output
        is_fixed = config.model_type in FIXED_IMAGE_LENGTH
        if not is_fixed or not isinstance(images, Tensor | list) or num_tokens % len(images):
            return None
        return num_tokens // len(images)


def find_decoder(model: nn.Module) -> Decoder:
    """The language model inside `model`, which must be multimodal.

    Raises:
        ValueError: there is none, it is of a class that is not supported, or `model` is only the
            inner part of a full model.
    """
    found = set()
    for owner in model.modules():
        for name in ("language_model", "text_model"):
            inner = getattr(owner, name, None)
            if not isinstance(inner, nn.Module) or not hasattr(inner, "layers"):
                continue
            if _is_supported(inner) and hasattr(owner, "config"):
                return Decoder(_generator(model, owner), owner, inner)
            found.add(type(inner).__name__)
    what = f"its {' and '.join(sorted(found))}" if found else "this model, which holds none"
    raise ValueError(
        f"the language side of {type(model).__name__} cannot be compressed: supported language "
        f"models of multimodal ones are {', '.join(DECODERS)}, not {what}"
    )


def _generator(model: nn.Module, owner: nn.Module) -> nn.Module:
    for module in model.modules():
        generates = isinstance(module, GenerationMixin)
        if generates and any(owner is part for part in module.modules()):
            return module
    raise ValueError(
        f"the language side of {type(model).__name__} cannot be compressed on its own, as it does "
        "not see how the full model generates: pass the full model, which has generate()"
    )


def _is_supported(module: nn.Module) -> bool:
    return any(
        base.__name__ in DECODERS and base.__module__.startswith("transformers.")
        for base in type(module).__mro__
    )
