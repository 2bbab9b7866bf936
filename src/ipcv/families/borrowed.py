"""Records of the families whose vision encoder is that of another family."""

from __future__ import annotations

from ipcv.families.batched import CLIP, IDEFICS3, SIGLIP, SIGLIP2
from ipcv.families.decoders import ANY_DECODER, decoder, deepstack_decoder
from ipcv.families.packed import QWEN2_5_VL, QWEN3_VL
from ipcv.families.records import Family
from ipcv.families.separate import PIXTRAL
from ipcv.vision.adapters.tiles import LLAVA_TILES

BORROWED = (
    Family(
        "Mistral 3",
        ("mistral3",),
        (PIXTRAL,),
        "mistralai/Mistral-Small-3.1-24B-Instruct-2503",
        decoder=ANY_DECODER,
        served={"mistral3": "Mistral3ForConditionalGeneration"},
    ),
    Family("Mistral Large 4", ("mistral_large4",), (PIXTRAL,), "mistralai/Mistral-Large-4-1T-A52B"),
    Family(
        "LightOnOCR",
        ("lighton_ocr",),
        (PIXTRAL,),
        "lightonai/LightOnOCR-1B-1025",
        decoder=ANY_DECODER,
    ),
    Family("LFM2-VL", ("lfm2_vl",), (SIGLIP2,), "LiquidAI/LFM2-VL-1.6B", item="tile"),
    Family("Aya Vision", ("aya_vision",), (SIGLIP,), "CohereForAI/aya-vision-8b", item="tile"),
    Family(
        "Command A Vision",
        ("cohere2_vision",),
        (SIGLIP,),
        "CohereLabs/command-a-vision-07-2025",
        item="tile",
    ),
    Family(
        "DeepSeek-VL",
        ("deepseek_vl",),
        (SIGLIP,),
        "deepseek-community/deepseek-vl-1.3b-chat",
        decoder=ANY_DECODER,
    ),
    Family(
        "DeepSeek-VL hybrid (SigLIP, not SAM)",
        ("deepseek_vl_hybrid",),
        (SIGLIP,),
        "deepseek-community/deepseek-vl-7b-chat",
        decoder=ANY_DECODER,
    ),
    Family(
        "LLaVA-NeXT-Video",
        ("llava_next_video",),
        (CLIP, SIGLIP),
        "llava-hf/LLaVA-NeXT-Video-7B-hf",
        item="image (all tiles) or video",
        tiles=LLAVA_TILES,
        decoder=ANY_DECODER,
    ),
    Family(
        "ViP-LLaVA",
        ("vipllava",),
        (CLIP, SIGLIP),
        "llava-hf/vip-llava-7b-hf",
        decoder=ANY_DECODER,
        fixed_image_length=True,
    ),
    Family(
        "Granite 4 Vision",
        ("granite4_vision",),
        (SIGLIP, CLIP),
        "ibm-granite/granite-4.0-3b-vision",
        item="image (all tiles)",
        tiles=LLAVA_TILES,
    ),
    Family("ShieldGemma 2", ("shieldgemma2",), (SIGLIP,), "google/shieldgemma-2-4b-it"),
    Family("T5Gemma 2", ("t5gemma2", "t5gemma2_encoder"), (SIGLIP,), "google/t5gemma-2-270m-270m"),
    Family("pi0", ("pi0",), (SIGLIP,), "lerobot/pi0_base"),
    Family(
        "Aria",
        ("aria",),
        (IDEFICS3,),
        "rhymes-ai/Aria",
        item="tile",
        decoder=decoder(("AriaTextModel",)),
    ),
    Family(
        "HyperCLOVA X SEED Think",
        ("hyperclovax_vision_v2",),
        (QWEN2_5_VL,),
        "naver-hyperclovax/HyperCLOVAX-SEED-Think-32B",
        item="image or video",
        decoder=decoder(("HyperCLOVAXModel",)),
    ),
    Family(
        "Cosmos 3",
        ("cosmos3_omni",),
        (QWEN3_VL,),
        "nvidia/Cosmos3-Nano",
        item="image or video",
        decoder=deepstack_decoder(("Qwen3VLTextModel",)),
    ),
)
