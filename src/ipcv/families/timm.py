"""Records of the vision transformers of timm, by themselves and inside models of transformers."""

from __future__ import annotations

from ipcv.families.batched import batched_encoder
from ipcv.families.decoders import ANY_DECODER
from ipcv.families.records import Family
from ipcv.vision.adapters.timm import EvaEncoder, TimmEncoder

PREFIX_TOKENS = "one image per row of the batch, CLS and registers if any"

VISION_TRANSFORMER = batched_encoder("timm.VisionTransformer", TimmEncoder, PREFIX_TOKENS)
EVA = batched_encoder("timm.Eva", EvaEncoder, f"{PREFIX_TOKENS}, rotary in some")

TIMM = (
    Family(
        "timm: ViT, DeiT, CLIP, SigLIP, DINOv2, EVA-02, PE, DINOv3",
        (
            "timm.VisionTransformer",
            "timm.VisionTransformerDistilled",
            "timm.Eva",
            "timm.FeatureGetterNet",
            "timm_wrapper",
            "timm_backbone",
        ),
        (VISION_TRANSFORMER, EVA),
        "timm/vit_base_patch16_224.augreg2_in21k_ft_in1k",
    ),
    Family(
        "Perception LM",
        ("perception_lm",),
        (EVA, VISION_TRANSFORMER),
        "facebook/Perception-LM-1B",
        item="tile or video frame",
        decoder=ANY_DECODER,
    ),
)
