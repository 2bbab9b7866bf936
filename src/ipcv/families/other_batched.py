"""Records of the families of batched images beside those that are most used."""

from __future__ import annotations

from ipcv.families.batched import batched_encoder
from ipcv.families.decoders import ANY_DECODER
from ipcv.families.records import Family
from ipcv.vision.adapters.gemma4 import Gemma4Encoder
from ipcv.vision.adapters.rotary import Llama4Encoder, Step3Encoder
from ipcv.vision.adapters.tiles import INTERNVL_TILES
from ipcv.vision.adapters.variants import (
    Aimv2Encoder,
    Blip2Encoder,
    ClipEncoder,
    DeitEncoder,
    GitEncoder,
    GraniteDoclingEncoder,
    Idefics3Encoder,
    IJepaEncoder,
    JanusEncoder,
    Molmo2Encoder,
    Ovis2Encoder,
    QianfanEncoder,
    VitEncoder,
)
from ipcv.vision.adapters.vjepa2 import Vjepa2Encoder

IMAGE = "one image per row of the batch"
TILE = "one image or tile per row of the batch"
CLS = f"{IMAGE}, CLS"

OTHER_BATCHED = (
    Family(
        "Gemma 4",
        ("gemma4", "gemma4_vision", "diffusion_gemma"),
        (batched_encoder("Gemma4VisionModel", Gemma4Encoder, "padded patch sequences, rotary"),),
        "google/gemma-4-e2b-it",
        item="image or video frame",
        served={"gemma4": "Gemma4ForConditionalGeneration"},
    ),
    Family(
        "Llama 4",
        ("llama4", "llama4_vision_model"),
        (batched_encoder("Llama4VisionModel", Llama4Encoder, f"{TILE}, CLS, rotary"),),
        "meta-llama/Llama-4-Scout-17B-16E-Instruct",
        item="tile",
    ),
    Family(
        "Step 3.7",
        ("step3p7", "step3p5_vision"),
        (batched_encoder("Step3p7VisionModel", Step3Encoder, f"{TILE}, rotary"),),
        "stepfun-ai/Step-3.7-Flash",
        item="image or tile",
    ),
    Family(
        "Molmo 2",
        ("molmo2", "molmo2_vision"),
        (batched_encoder("Molmo2VisionModel", Molmo2Encoder, TILE),),
        "allenai/Molmo2-8B",
        item="tile or video frame",
    ),
    Family(
        "Ovis 2",
        ("ovis2", "ovis2_vision"),
        (batched_encoder("Ovis2VisionModel", Ovis2Encoder, TILE),),
        "thisisiron/Ovis2-1B-hf",
        item="tile",
        decoder=ANY_DECODER,
    ),
    Family(
        "Idefics2",
        ("idefics2", "idefics2_vision"),
        (batched_encoder("Idefics2VisionTransformer", Idefics3Encoder, "padded images or tiles"),),
        "HuggingFaceM4/idefics2-8b",
        item="image or tile",
        decoder=ANY_DECODER,
    ),
    Family(
        "Granite Docling",
        ("granite_docling", "granite_docling_vision"),
        (
            batched_encoder(
                "GraniteDoclingVisionModel", GraniteDoclingEncoder, f"{TILE}, DeepStack"
            ),
        ),
        "ibm-granite/granite-for-docling-500m",
        item="tile",
    ),
    Family(
        "Qianfan-OCR",
        ("qianfan_ocr", "qianfan_ocr_vision"),
        (batched_encoder("QianfanOCRVisionModel", QianfanEncoder, "tiles with CLS"),),
        "baidu/Qianfan-OCR",
        item="image (all tiles)",
        tiles=INTERNVL_TILES,
        decoder=ANY_DECODER,
    ),
    Family(
        "Janus (understanding)",
        ("janus", "janus_vision_model"),
        (batched_encoder("JanusVisionModel", JanusEncoder, IMAGE),),
        "deepseek-community/Janus-Pro-1B",
        decoder=ANY_DECODER,
    ),
    Family(
        "Kosmos-2",
        ("kosmos-2", "kosmos_2_vision_model"),
        (batched_encoder("Kosmos2VisionTransformer", ClipEncoder, CLS),),
        "microsoft/kosmos-2-patch14-224",
    ),
    Family(
        "GIT",
        ("git", "git_vision_model"),
        (batched_encoder("GitVisionModel", GitEncoder, CLS),),
        "microsoft/git-base",
        item="image or video frame",
    ),
    Family(
        "BLIP-2",
        ("blip-2", "blip_2_vision_model"),
        (batched_encoder("Blip2VisionModel", Blip2Encoder, CLS),),
        "Salesforce/blip2-opt-2.7b",
    ),
    Family(
        "InstructBLIP",
        ("instructblip", "instructblip_vision_model"),
        (batched_encoder("InstructBlipVisionModel", Blip2Encoder, CLS),),
        "Salesforce/instructblip-flan-t5-xl",
    ),
    Family(
        "InstructBLIP for video",
        ("instructblipvideo", "instructblipvideo_vision_model"),
        (batched_encoder("InstructBlipVideoVisionModel", Blip2Encoder, CLS),),
        "Salesforce/instructblip-flan-t5-xl",
        item="video frame",
    ),
    Family(
        "ViT (MAE too, loaded as ViTModel)",
        ("vit", "vit_mae"),
        (batched_encoder("ViTModel", VitEncoder, CLS),),
        "google/vit-base-patch16-224",
    ),
    Family(
        "ViT MSN",
        ("vit_msn",),
        (batched_encoder("ViTMSNModel", VitEncoder, CLS),),
        "facebook/vit_msn_base",
    ),
    Family(
        "DeiT",
        ("deit",),
        (batched_encoder("DeiTModel", DeitEncoder, f"{IMAGE}, CLS and distillation token"),),
        "facebook/deit-base-distilled-patch16-224",
    ),
    Family(
        "I-JEPA",
        ("ijepa",),
        (batched_encoder("IJepaModel", IJepaEncoder, IMAGE),),
        "facebook/ijepa_vith14_1k",
    ),
    Family(
        "V-JEPA 2",
        ("vjepa2",),
        (batched_encoder("VJEPA2Model", Vjepa2Encoder, "one video per row of the batch, rotary"),),
        "facebook/vjepa2-vitl-fpc64-256",
        item="video",
    ),
    Family(
        "AIMv2",
        ("aimv2", "aimv2_vision_model"),
        (batched_encoder("Aimv2VisionModel", Aimv2Encoder, IMAGE),),
        "apple/aimv2-large-patch14-224-lit",
    ),
    Family(
        "MetaCLIP 2",
        ("metaclip_2", "metaclip_2_vision_model"),
        (batched_encoder("MetaClip2VisionModel", ClipEncoder, CLS),),
        "facebook/metaclip-2-worldwide-huge-quickgelu",
    ),
    Family(
        "AltCLIP",
        ("altclip", "altclip_vision_model"),
        (batched_encoder("AltCLIPVisionModel", ClipEncoder, CLS),),
        "BAAI/AltCLIP",
    ),
    Family(
        "Chinese CLIP",
        ("chinese_clip", "chinese_clip_vision_model"),
        (batched_encoder("ChineseCLIPVisionModel", ClipEncoder, CLS),),
        "OFA-Sys/chinese-clip-vit-base-patch16",
    ),
)
