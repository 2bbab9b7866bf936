"""Records of the families whose vision encoder has an image or tile per element of the batch."""

from __future__ import annotations

from functools import partial

from ipcv.families.decoders import ANY_DECODER
from ipcv.families.images import llava_images, tiled_images
from ipcv.families.records import EncoderKind, Family, Size, Tuned
from ipcv.families.separate import PIXTRAL
from ipcv.vision.adapters.batched import BatchedEncoder
from ipcv.vision.adapters.dinov3 import Dinov3Encoder
from ipcv.vision.adapters.tiles import INTERNVL_TILES, LLAVA_TILES
from ipcv.vision.adapters.variants import (
    ClipEncoder,
    Dinov2Encoder,
    Idefics3Encoder,
    InternVLEncoder,
    Siglip2Encoder,
)
from ipcv.vision.adaptive import Adaptive
from ipcv.vision.ipcv import IPCV

batched_encoder = partial(
    EncoderKind,
    settings=IPCV(prune_layer=7, reduction_ratio=0.65, stabilization_layers=3, num_neighbors=10),
    depth=24,
)

CLIP = batched_encoder(
    "CLIPVisionModel", ClipEncoder, "one image or tile per row of the batch, CLS"
)
SIGLIP = batched_encoder(
    "SiglipVisionModel", BatchedEncoder, "one image or tile per row of the batch"
)
SIGLIP2 = batched_encoder("Siglip2VisionModel", Siglip2Encoder, "padded patch sequences")
IDEFICS3 = batched_encoder("Idefics3VisionTransformer", Idefics3Encoder, "padded images or tiles")
DINOV2 = batched_encoder(
    "Dinov2Model",
    Dinov2Encoder,
    "one image per row of the batch, CLS",
    tuned={
        Size(width=384, depth=12): Tuned(
            Adaptive(reduction_ratio=0.65),
            "benchmarks/results/dinov2.json",
            "adaptive 0.65",
        )
    },
)

BATCHED = (
    Family(
        "InternVL 2.5, 3, 3.5 (-hf)",
        ("internvl", "internvl_vision"),
        (
            batched_encoder(
                "InternVLVisionModel", InternVLEncoder, "tiles with CLS", published=True
            ),
        ),
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
        "LLaVA 1.5, Pixtral",
        ("llava",),
        (CLIP, SIGLIP, PIXTRAL),
        "llava-hf/llava-1.5-7b-hf",
        decoder=ANY_DECODER,
        patches_per_token=lambda config: 1,
        fixed_image_length=True,
        served={"llava": "LlavaForConditionalGeneration"},
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
        served={"llava_onevision": "LlavaOnevisionForConditionalGeneration"},
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
        served={"gemma3": "Gemma3ForConditionalGeneration"},
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
        served={"idefics3": "Idefics3ForConditionalGeneration"},
    ),
    Family(
        "SmolVLM",
        ("smolvlm", "smolvlm_vision"),
        (batched_encoder("SmolVLMVisionTransformer", Idefics3Encoder, "padded images or tiles"),),
        "HuggingFaceTB/SmolVLM2-2.2B-Instruct",
        item="tile or video frame",
        decoder=ANY_DECODER,
        served={"smolvlm": "SmolVLMForConditionalGeneration"},
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
    Family(
        "DINOv2",
        ("dinov2",),
        (DINOV2,),
        "facebook/dinov2-large",
    ),
    Family(
        "DINOv2 with registers",
        ("dinov2_with_registers",),
        (
            batched_encoder(
                "Dinov2WithRegistersModel",
                Dinov2Encoder,
                "one image per row of the batch, CLS and registers",
            ),
        ),
        "facebook/dinov2-with-registers-large",
    ),
    Family(
        "DINOv3",
        ("dinov3_vit",),
        (
            batched_encoder(
                "DINOv3ViTModel",
                Dinov3Encoder,
                "one image per row of the batch, CLS and registers, rotary",
            ),
        ),
        "facebook/dinov3-vitl16-pretrain-lvd1689m",
    ),
)
