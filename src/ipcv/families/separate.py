"""Records of the families whose vision encoder has packed rows, projected one by one: Pixtral."""

from __future__ import annotations

from functools import partial

from ipcv.families.decoders import ANY_DECODER, decoder
from ipcv.families.records import EncoderKind, Family
from ipcv.vision.adapters.pixtral import PixtralEncoder
from ipcv.vision.adapters.separate import (
    CosmosEncoder,
    HunYuanEncoder,
    KimiEncoder,
    MiniMaxEncoder,
    MuseEncoder,
    OmniEncoder,
    PaddleOcrEncoder,
    VideoLlama3Encoder,
)
from ipcv.vision.ipcv import IPCV

_encoder = partial(
    EncoderKind,
    settings=IPCV(prune_layer=3, reduction_ratio=0.65, stabilization_layers=7, num_neighbors=10),
    depth=32,
)
PER_FRAME = "packed rows, full attention per frame"
PER_VIDEO = "packed rows, full attention per image or video"
WINDOWED = "packed rows, attention in windows and, in some blocks, per frame"

PIXTRAL = _encoder("PixtralVisionModel", PixtralEncoder, "packed rows, full attention per image")

SEPARATE = (
    Family(
        "Qwen2.5-Omni (vision)",
        ("qwen2_5_omni_thinker", "qwen2_5_omni", "qwen2_5_omni_vision_encoder"),
        (_encoder("Qwen2_5OmniVisionEncoder", OmniEncoder, WINDOWED),),
        "Qwen/Qwen2.5-Omni-7B",
        item="image or video",
        decoder=decoder(("Qwen2_5OmniThinkerTextModel",)),
    ),
    Family("Pixtral", ("pixtral",), (PIXTRAL,), "mistral-community/pixtral-12b"),
    Family(
        "PaddleOCR-VL",
        ("paddleocr_vl", "paddleocr_vl_vision"),
        (_encoder("PaddleOCRVisionTransformer", PaddleOcrEncoder, PER_FRAME),),
        "PaddlePaddle/PaddleOCR-VL",
        decoder=decoder(("PaddleOCRTextModel",)),
    ),
    Family(
        "HunYuan-VL, HunyuanOCR",
        ("hunyuan_vl", "hunyuan_vl_vision"),
        (_encoder("HunYuanVLVisionTransformer", HunYuanEncoder, PER_FRAME),),
        "tencent/HunyuanOCR",
    ),
    Family(
        "Kimi K2.5",
        ("kimi_k25", "kimi_k25_vision"),
        (_encoder("Kimi_K25VisionModel", KimiEncoder, PER_VIDEO),),
        "moonshotai/Kimi-K2.6",
        item="image or video",
    ),
    Family(
        "VideoLLaMA 3",
        ("video_llama_3", "video_llama_3_vision"),
        (_encoder("VideoLlama3VisionModel", VideoLlama3Encoder, PER_FRAME),),
        "lkhl/VideoLLaMA3-2B-Image-HF",
        item="image or video",
        decoder=ANY_DECODER,
    ),
    Family(
        "MiniMax M3",
        ("minimax_m3_vl", "minimax_m3_vl_vision"),
        (_encoder("MiniMaxM3VLVisionModel", MiniMaxEncoder, PER_VIDEO),),
        "MiniMaxAI/MiniMax-M3",
        item="image or video",
    ),
    Family(
        "Cosmos 3 Edge",
        ("cosmos3_edge", "cosmos3_edge_vision"),
        (_encoder("Cosmos3EdgeVisionModel", CosmosEncoder, PER_FRAME),),
        "nvidia/Cosmos3-Edge",
        item="image or video",
    ),
    Family(
        "Muse Spark",
        ("muse_spark", "muse_spark_vision"),
        (_encoder("MuseSparkVisionModel", MuseEncoder, WINDOWED),),
        "meta-models/Muse-Spark-Open-816B-A42B",
        item="image or video",
    ),
    Family(
        "Muse Glimmer",
        ("muse_glimmer", "muse_glimmer_vision"),
        (_encoder("MuseGlimmerVisionModel", MuseEncoder, WINDOWED),),
        "meta-models/Muse-Glimmer-30B",
        item="image or video",
    ),
)
