"""Adapters for batches of images that differ from `BatchedEncoder` in little but names."""

from __future__ import annotations

from math import isqrt
from typing import Any

from torch import Tensor, nn

from ipcv.core.arguments import Arguments
from ipcv.vision.adapters.batched import BatchedEncoder
from ipcv.vision.adapters.noise import Noise, random_pixels


class ClipEncoder(BatchedEncoder):
    """CLIP: a CLS token before the patches."""

    protected = 1


class Idefics3Encoder(BatchedEncoder):
    """Idefics3 and SmolVLM: images of different size are padded to one."""

    padding_argument = "patch_attention_mask"
    obstacle = "its images are padded to one size"


class Siglip2Encoder(BatchedEncoder):
    """SigLIP 2 with native aspect ratio (NaFlex): patch sequences are padded to one length."""

    padding_argument = "pixel_attention_mask"
    obstacle = "its images are padded to one length"

    def columns(self, arguments: Arguments) -> Tensor:
        shapes: Tensor = arguments["spatial_shapes"]
        return shapes[:, 1]


class InternVLEncoder(BatchedEncoder):
    """InternVL: a CLS token, and in some sizes norms on queries and keys."""

    blocks_path = "encoder.layer"
    norm_name = "layernorm_before"
    attention_name = "attention"
    output_name = "projection_layer"
    protected = 1

    def project(
        self, attention: Any, queries: Tensor, keys: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = super().project(attention, queries, keys)
        return attention.q_norm(query), key, value

    def project_key(self, attention: Any, keys: Tensor) -> Tensor:
        key: Tensor = attention.k_norm(super().project_key(attention, keys))
        return key

    def project_attended(self, attention: Any, attended: Tensor) -> Tensor:
        projected: Tensor = attention.projection_dropout(
            super().project_attended(attention, attended)
        )
        return projected


class Dinov2Encoder(BatchedEncoder):
    """DINOv2: a CLS token and, in one variant, registers."""

    blocks_path = "encoder.layer"
    norm_name = "norm1"
    attention_name = "attention"
    output_name = "o_proj"
    padding_argument = "attention_mask"

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__(encoder)
        self.protected = 1 + getattr(encoder.config, "num_register_tokens", 0)


class VitEncoder(BatchedEncoder):
    """ViT: a CLS token before the patches."""

    blocks_path = "layers"
    norm_name = "layernorm_before"
    attention_name = "attention"
    output_name = "o_proj"
    padding_argument = "attention_mask"
    protected = 1


class DeitEncoder(VitEncoder):
    """DeiT: a CLS and a distillation token."""

    protected = 2


class IJepaEncoder(VitEncoder):
    """I-JEPA: patches alone."""

    protected = 0


class Aimv2Encoder(BatchedEncoder):
    """AIMv2: patches alone."""

    norm_name = "rms_norm1"
    attention_name = "attention"


class Ovis2Encoder(Aimv2Encoder):
    """Ovis 2: as AIMv2, and a vocabulary of visual words behind the blocks."""

    blocks_path = "transformer.encoder.layers"


class GitEncoder(BatchedEncoder):
    """GIT: a CLS token before the patches."""

    blocks_path = "vision_model.encoder.layers"
    protected = 1


class QianfanEncoder(InternVLEncoder):
    """Qianfan-OCR: as InternVL."""

    blocks_path = "layers"


class JanusEncoder(BatchedEncoder):
    """Janus: as SigLIP, but for a name."""

    output_name = "projection_layer"


class Blip2Encoder(BatchedEncoder):
    """BLIP-2 and InstructBLIP: a CLS token, and one projection of queries, keys and values."""

    output_name = "projection"
    protected = 1

    def project(
        self, attention: Any, queries: Tensor, keys: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        _, key, value = attention.qkv(keys).chunk(3, dim=-1)
        return attention.qkv(queries).chunk(3, dim=-1)[0], key, value

    def project_key(self, attention: Any, keys: Tensor) -> Tensor:
        key: Tensor = attention.qkv(keys).chunk(3, dim=-1)[1]
        return key


class GraniteDoclingEncoder(BatchedEncoder):
    """Granite Docling: connectors read the output of some blocks on the way."""

    def full_length_outputs(self, arguments: Arguments) -> set[int]:
        config: Any = self.encoder.config
        return super().full_length_outputs(arguments) | set(config.deepstack_visual_indexes)


class Molmo2Encoder(BatchedEncoder):
    """Molmo 2: tiles come as patches."""

    blocks_path = "layers"
    output_name = "o_proj"

    def columns(self, arguments: Arguments) -> int:
        return isqrt(arguments["pixel_values"].shape[1])

    def noise(self, side: int, images: int, frames: int) -> Noise:
        config: Any = self.encoder.config
        patches, width = config.num_position_embeddings, 3 * config.patch_size**2
        pixels = random_pixels(self.encoder, frames or images, patches, width)
        return Noise({"pixel_values": pixels}, patches).as_video(frames or 1)
