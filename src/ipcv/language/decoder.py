"""A language model inside a multimodal one, and where its parts are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ipcv.core.arguments import Arguments


@dataclass(frozen=True)
class Decoder:
    """A language model inside a multimodal one.

    Attributes:
        generator: the full model, which generates.
        owner: the multimodal model in it, whose forward gets the token ids and the pixels.
        model: the language model, a stack of layers.
        deepstack_layers: behind so many first layers features of all image tokens are added.
        fixed_image_length: whether every image has equally many tokens, and several may be side by
            side in a prompt.
    """

    generator: nn.Module
    owner: nn.Module
    model: nn.Module
    deepstack_layers: int = 0
    fixed_image_length: bool = False

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
        encoded = (arguments.get("mm_encoder_outputs") or {}).get("image")
        images = arguments.get("pixel_values") if encoded is None else encoded.pooler_output
        if not self.fixed_image_length or not isinstance(images, Tensor | list):
            return None
        if num_tokens % len(images):
            return None
        return num_tokens // len(images)
