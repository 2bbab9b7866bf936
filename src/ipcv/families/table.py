"""The families of models that are supported, a record of each."""

from __future__ import annotations

from functools import partial

from ipcv.families.encoders import (
    CLIP,
    DINOV2,
    DINOV2_REGISTERS,
    DINOV3,
    IDEFICS3,
    INTERNVL,
    QWEN2_5_VL,
    QWEN2_VL,
    QWEN3_5,
    QWEN3_5_MOE,
    QWEN3_VL,
    QWEN3_VL_MOE,
    QWEN4,
    SIGLIP,
    SIGLIP2,
    SMOLVLM,
)
from ipcv.families.images import llava_images, packed_images, tiled_images
from ipcv.families.records import DecoderKind, Family
from ipcv.language import DART, FastV
from ipcv.vision.adapters.tiles import INTERNVL_TILES, LLAVA_TILES

_qwen = partial(
    Family,
    item="image or video",
    patches_per_token=lambda config: config.vision_config.spatial_merge_size**2,
    image_arguments=packed_images,
)
_qwen_decoder = partial(
    DecoderKind, settings=DART(prune_layer=3, reduction_ratio=0.65, normalize=False)
)
_deepstack_decoder = partial(
    _qwen_decoder,  # DeepStack adds features of the image behind the first layers
    first_prunable=lambda config: len(config.vision_config.deepstack_visual_indexes or ()),
)
ANY_DECODER = DecoderKind(
    (
        "Qwen2Model",
        "Qwen3Model",
        "LlamaModel",
        "MistralModel",
        "GemmaModel",
        "Gemma2Model",
        "Gemma3TextModel",
    ),
    settings=FastV(prune_layer=3, reduction_ratio=0.65),
)
"""For families whose checkpoints choose their language model."""


FAMILIES = (
    _qwen(
        "Qwen2-VL",
        ("qwen2_vl", "qwen2_vl_vision"),
        (QWEN2_VL,),
        "Qwen/Qwen2-VL-7B-Instruct",
        decoder=_qwen_decoder(("Qwen2VLTextModel",)),
        served={"qwen2_vl": "Qwen2VLForConditionalGeneration"},
    ),
    _qwen(
        "Qwen2.5-VL",
        ("qwen2_5_vl", "qwen2_5_vl_vision"),
        (QWEN2_5_VL,),
        "Qwen/Qwen2.5-VL-7B-Instruct",
        decoder=_qwen_decoder(("Qwen2_5_VLTextModel",)),
        served={"qwen2_5_vl": "Qwen2_5_VLForConditionalGeneration"},
    ),
    _qwen(
        "Qwen3-VL",
        ("qwen3_vl", "qwen3_vl_vision"),
        (QWEN3_VL,),
        "Qwen/Qwen3-VL-8B-Instruct",
        decoder=_deepstack_decoder(("Qwen3VLTextModel",)),
        served={"qwen3_vl": "Qwen3VLForConditionalGeneration"},
    ),
    _qwen(
        "Qwen3-VL MoE",
        ("qwen3_vl_moe", "qwen3_vl_moe_vision"),
        (QWEN3_VL_MOE,),
        "Qwen/Qwen3-VL-30B-A3B-Instruct",
        decoder=_deepstack_decoder(("Qwen3VLMoeTextModel",)),
        served={"qwen3_vl_moe": "Qwen3VLMoeForConditionalGeneration"},
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
        item="image (all tiles) or video frame",
        tiles=INTERNVL_TILES,
        decoder=ANY_DECODER,
        patches_per_token=lambda config: round(1 / config.downsample_ratio) ** 2,
        image_arguments=tiled_images,
        served={
            "internvl": "InternVLForConditionalGeneration",
            "internvl_chat": "InternVLChatModel",
        },
        remote_code={
            "internvl_chat": (
                "InternVLForConditionalGeneration (checkpoints whose name ends in -hf)"
            ),
            "intern_vit_6b": "InternVLVisionModel",
        },
    ),
    Family(
        "LLaVA 1.5",
        ("llava",),
        (CLIP, SIGLIP),
        "llava-hf/llava-1.5-7b-hf",
        decoder=ANY_DECODER,
        patches_per_token=lambda config: 1,
        fixed_image_length=True,
        remote_code={
            "llava_llama": (
                "LlavaForConditionalGeneration or LlavaNextForConditionalGeneration (llava-hf)"
            ),
        },
    ),
    Family(
        "LLaVA-NeXT",
        ("llava_next",),
        (CLIP, SIGLIP),
        "llava-hf/llava-v1.6-mistral-7b-hf",
        item="image (all tiles)",
        tiles=LLAVA_TILES,
        decoder=ANY_DECODER,
        remote_code={"llava_mistral": "LlavaNextForConditionalGeneration (llava-hf)"},
    ),
    Family(
        "LLaVA-OneVision",
        ("llava_onevision",),
        (SIGLIP, CLIP),
        "llava-hf/llava-onevision-qwen2-7b-ov-hf",
        item="image (all tiles) or video",
        tiles=LLAVA_TILES,
        decoder=ANY_DECODER,
        image_arguments=llava_images,
        remote_code={"llava_qwen": "LlavaOnevisionForConditionalGeneration (llava-hf)"},
    ),
    Family(
        "Gemma 3",
        ("gemma3",),
        (SIGLIP,),
        "google/gemma-3-4b-it",
        decoder=ANY_DECODER,
        patches_per_token=lambda config: (
            (config.vision_config.image_size // config.vision_config.patch_size) ** 2
            // config.mm_tokens_per_image
        ),
    ),
    Family(
        "PaliGemma",
        ("paligemma",),
        (SIGLIP,),
        "google/paligemma2-3b-mix-448",
        decoder=ANY_DECODER,
        patches_per_token=lambda config: 1,
        fixed_image_length=True,
    ),
    Family(
        "Idefics3",
        ("idefics3", "idefics3_vision"),
        (IDEFICS3,),
        "HuggingFaceM4/Idefics3-8B-Llama3",
        item="tile",
        decoder=ANY_DECODER,
    ),
    Family(
        "SmolVLM",
        ("smolvlm", "smolvlm_vision"),
        (SMOLVLM,),
        "HuggingFaceTB/SmolVLM2-2.2B-Instruct",
        item="tile or video frame",
        decoder=ANY_DECODER,
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
