"""The one list of what is supported: encoders, their settings, the models that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import nn

from ipcv.vision.adapters.base import EncoderAdapter
from ipcv.vision.adapters.batched import (
    BatchedEncoder,
    ClipEncoder,
    Dinov2Encoder,
    Idefics3Encoder,
    InternVLEncoder,
    Siglip2Encoder,
)
from ipcv.vision.adapters.dinov3 import Dinov3Encoder
from ipcv.vision.adapters.packed import DeepStackEncoder, PackedEncoder, WindowedEncoder
from ipcv.vision.adapters.tiles import INTERNVL_TILES, LLAVA_TILES, Tiles
from ipcv.vision.ipcv import IPCV

QWEN_SETTINGS = IPCV(prune_layer=3, reduction_ratio=0.65, stabilization_layers=7, num_neighbors=10)
INTERNVL_SETTINGS = IPCV(
    prune_layer=7, reduction_ratio=0.65, stabilization_layers=3, num_neighbors=10
)


@dataclass(frozen=True)
class Encoder:
    """A vision encoder and how to compress it.

    Attributes:
        class_name: its class in `transformers`.
        adapter: what the engine works through.
        shape: the encoder in a few words.
        settings: the reference settings, for an encoder of `depth` blocks.
        depth: blocks of the encoder that `settings` are for.
        published: whether `settings` are the paper's, or scaled from the nearest encoder's.
    """

    class_name: str
    adapter: type[EncoderAdapter]
    shape: str
    settings: IPCV = INTERNVL_SETTINGS
    depth: int = 24
    published: bool = False


_packed = partial(Encoder, settings=QWEN_SETTINGS, depth=32)

QWEN2_VL = _packed(
    "Qwen2VisionTransformerPretrainedModel",
    PackedEncoder,
    "packed rows, full attention per frame",
    published=True,
)
QWEN2_5_VL = _packed(
    "Qwen2_5_VisionTransformerPretrainedModel",
    WindowedEncoder,
    "packed rows, attention in windows and, in some blocks, per frame",
)
QWEN3_VL, QWEN3_VL_MOE = (
    _packed(name, DeepStackEncoder, "packed rows, full attention per frame, DeepStack")
    for name in ("Qwen3VLVisionModel", "Qwen3VLMoeVisionModel")
)
QWEN3_5, QWEN3_5_MOE, QWEN4 = (
    _packed(name, PackedEncoder, "packed rows, full attention per frame")
    for name in ("Qwen3_5VisionModel", "Qwen3_5MoeVisionModel", "Qwen4ExpVisionModel")
)
INTERNVL = Encoder("InternVLVisionModel", InternVLEncoder, "tiles with CLS", published=True)
SIGLIP = Encoder("SiglipVisionModel", BatchedEncoder, "one image or tile per row of the batch")
SIGLIP2 = Encoder("Siglip2VisionModel", Siglip2Encoder, "padded patch sequences")
CLIP = Encoder("CLIPVisionModel", ClipEncoder, "one image or tile per row of the batch, CLS")
IDEFICS3, SMOLVLM = (
    Encoder(name, Idefics3Encoder, "padded images or tiles")
    for name in ("Idefics3VisionTransformer", "SmolVLMVisionTransformer")
)
DINOV2 = Encoder("Dinov2Model", Dinov2Encoder, "one image per row of the batch, CLS")
DINOV2_REGISTERS = Encoder(
    "Dinov2WithRegistersModel", Dinov2Encoder, "one image per row of the batch, CLS and registers"
)
DINOV3 = Encoder(
    "DINOv3ViTModel", Dinov3Encoder, "one image per row of the batch, CLS and registers, rotary"
)


@dataclass(frozen=True)
class Family:
    """A family of models: what they are called and which vision encoders they may hold.

    Attributes:
        name: as people call it.
        model_types: `config.model_type` of the models, with or without their language model.
        encoders: those that may be inside; the first is the usual one.
        checkpoint: an example on the hub.
        item: what patches compete and rebuild each other in.
        tiles: how to read which tiles make up an image; `None` where that is not needed.
    """

    name: str
    model_types: tuple[str, ...]
    encoders: tuple[Encoder, ...]
    checkpoint: str
    item: str = "image"
    tiles: Tiles | None = None

    @property
    def settings(self) -> IPCV:
        """The reference settings for the usual encoder."""
        return self.encoders[0].settings


_qwen = partial(Family, item="image or video")


FAMILIES = (
    _qwen("Qwen2-VL", ("qwen2_vl", "qwen2_vl_vision"), (QWEN2_VL,), "Qwen/Qwen2-VL-7B-Instruct"),
    _qwen(
        "Qwen2.5-VL",
        ("qwen2_5_vl", "qwen2_5_vl_vision"),
        (QWEN2_5_VL,),
        "Qwen/Qwen2.5-VL-7B-Instruct",
    ),
    _qwen("Qwen3-VL", ("qwen3_vl", "qwen3_vl_vision"), (QWEN3_VL,), "Qwen/Qwen3-VL-8B-Instruct"),
    _qwen(
        "Qwen3-VL MoE",
        ("qwen3_vl_moe", "qwen3_vl_moe_vision"),
        (QWEN3_VL_MOE,),
        "Qwen/Qwen3-VL-30B-A3B-Instruct",
    ),
    _qwen("Qwen3.5", ("qwen3_5", "qwen3_5_vision"), (QWEN3_5,), "Qwen/Qwen3.5-27B"),
    _qwen(
        "Qwen3.5 MoE",
        ("qwen3_5_moe", "qwen3_5_moe_vision"),
        (QWEN3_5_MOE,),
        "Qwen/Qwen3.5-35B-A3B",
    ),
    _qwen(
        "Qwen3.8-Flash-Next",
        ("qwen4_exp", "qwen4_exp_vision"),
        (QWEN4,),
        "Qwen/Qwen3.8-Flash-Next",
    ),
    Family(
        "InternVL 2.5, 3, 3.5 (-hf)",
        ("internvl", "internvl_vision"),
        (INTERNVL,),
        "OpenGVLab/InternVL3-8B-hf",
        "image (all tiles) or video frame",
        INTERNVL_TILES,
    ),
    Family("LLaVA 1.5", ("llava",), (CLIP, SIGLIP), "llava-hf/llava-1.5-7b-hf"),
    Family(
        "LLaVA-NeXT",
        ("llava_next",),
        (CLIP, SIGLIP),
        "llava-hf/llava-v1.6-mistral-7b-hf",
        "image (all tiles)",
        LLAVA_TILES,
    ),
    Family(
        "LLaVA-OneVision",
        ("llava_onevision",),
        (SIGLIP, CLIP),
        "llava-hf/llava-onevision-qwen2-7b-ov-hf",
        "image (all tiles) or video",
        LLAVA_TILES,
    ),
    Family("Gemma 3", ("gemma3",), (SIGLIP,), "google/gemma-3-4b-it"),
    Family("PaliGemma", ("paligemma",), (SIGLIP,), "google/paligemma2-3b-mix-448"),
    Family(
        "Idefics3",
        ("idefics3", "idefics3_vision"),
        (IDEFICS3,),
        "HuggingFaceM4/Idefics3-8B-Llama3",
        "tile",
    ),
    Family(
        "SmolVLM",
        ("smolvlm", "smolvlm_vision"),
        (SMOLVLM,),
        "HuggingFaceTB/SmolVLM2-2.2B-Instruct",
        "tile or video frame",
    ),
    Family("CLIP", ("clip", "clip_vision_model"), (CLIP,), "openai/clip-vit-large-patch14-336"),
    Family(
        "SigLIP", ("siglip", "siglip_vision_model"), (SIGLIP,), "google/siglip-so400m-patch14-384"
    ),
    Family(
        "SigLIP 2 NaFlex",
        ("siglip2", "siglip2_vision_model"),
        (SIGLIP2,),
        "google/siglip2-so400m-patch16-naflex",
    ),
    Family("DINOv2", ("dinov2",), (DINOV2,), "facebook/dinov2-large"),
    Family(
        "DINOv2 with registers",
        ("dinov2_with_registers",),
        (DINOV2_REGISTERS,),
        "facebook/dinov2-with-registers-large",
    ),
    Family("DINOv3", ("dinov3_vit",), (DINOV3,), "facebook/dinov3-vitl16-pretrain-lvd1689m"),
)

REMOTE_CODE = {
    "internvl_chat": "InternVLForConditionalGeneration (checkpoints whose name ends in -hf)",
    "intern_vit_6b": "InternVLVisionModel",
    "llava_llama": "LlavaForConditionalGeneration or LlavaNextForConditionalGeneration (llava-hf)",
    "llava_mistral": "LlavaNextForConditionalGeneration (llava-hf)",
    "llava_qwen": "LlavaOnevisionForConditionalGeneration (llava-hf)",
}
"""Model types of checkpoints that bring their own code, and the stock class to load instead."""


def supported_model_types() -> list[str]:
    """All `model_type`s that can be compressed."""
    return sorted({name for family in FAMILIES for name in family.model_types})


def family_of(model_type: str) -> Family:
    """The family of a `model_type`. Raises `ValueError`, listing what is supported."""
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    if model_type in REMOTE_CODE:
        raise ValueError(
            f"model type {model_type!r} is remote code: load a checkpoint for the stock "
            f"transformers class {REMOTE_CODE[model_type]}"
        )
    raise ValueError(
        f"model type {model_type!r} is not supported; supported are: "
        + ", ".join(supported_model_types())
    )


def model_type_of(model: nn.Module) -> str:
    """`config.model_type` of a model. Raises `TypeError` where there is none."""
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    if not isinstance(model_type, str):
        raise TypeError(
            f"expected a transformers model with config.model_type, got {type(model).__name__}"
        )
    return model_type


def find_encoder(model: nn.Module) -> tuple[Encoder, nn.Module]:
    """The vision encoder of `model`, which may be that encoder itself, and its entry.

    Raises:
        TypeError: not a `transformers` model.
        ValueError: the model type is not supported, or the encoder is no class listed for it.
    """
    family = family_of(model_type_of(model))
    for module in model.modules():
        for encoder in family.encoders:
            if _is_stock(module, encoder.class_name):
                return encoder, module
    names = " or ".join(encoder.class_name for encoder in family.encoders)
    raise ValueError(
        f"no stock {names} of transformers in this {type(model).__name__}: load the checkpoint as "
        f"{_stock_class(model_type_of(model), names)}, without remote code; other vision encoders "
        f"inside {family.name} models are not supported"
    )


def adapter_for(model: nn.Module) -> EncoderAdapter:
    """The adapter around the vision encoder of `model`. Raises what `find_encoder` raises."""
    encoder, module = find_encoder(model)
    adapter = encoder.adapter(module)
    if (tiles := family_of(model_type_of(model)).tiles) is not None:
        owners = [m for m in model.modules() if m is not module and module in m.modules()]
        adapter.tile_sources = [
            (owner, method, partial(tiles.read, owner))
            for owner in owners
            for method in tiles.methods
            if hasattr(type(owner), method)
        ]
    return adapter


def _is_stock(module: nn.Module, class_name: str) -> bool:
    return any(
        base.__name__ == class_name and base.__module__.startswith("transformers.")
        for base in type(module).__mro__
    )


def _stock_class(model_type: str, default: str) -> str:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    name: str = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(model_type, default)
    return name
