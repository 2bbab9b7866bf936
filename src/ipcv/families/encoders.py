"""The kinds of vision encoders that can be compressed, a record of each."""

from __future__ import annotations

from functools import partial

from ipcv.core.config import IPCV
from ipcv.families.records import EncoderKind, Size, Tuned
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
from ipcv.vision.progressive import Progressive

_packed = partial(
    EncoderKind,
    settings=IPCV(prune_layer=3, reduction_ratio=0.65, stabilization_layers=7, num_neighbors=10),
    depth=32,
)
_batched = partial(
    EncoderKind,
    settings=IPCV(prune_layer=7, reduction_ratio=0.65, stabilization_layers=3, num_neighbors=10),
    depth=24,
)

QWEN2_VL = _packed(
    "Qwen2VisionTransformerPretrainedModel",
    PackedEncoder,
    "packed rows, full attention per frame",
    published=True,
    tuned={
        Size(width=128, depth=8): Tuned(
            IPCV(0, 0.5, 0, selector="contrast", reconstruction="linear"),
            "benchmarks/results/suite.json",
            "contrast 0.5",
        )
    },
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
INTERNVL = _batched("InternVLVisionModel", InternVLEncoder, "tiles with CLS", published=True)
SIGLIP = _batched("SiglipVisionModel", BatchedEncoder, "one image or tile per row of the batch")
SIGLIP2 = _batched("Siglip2VisionModel", Siglip2Encoder, "padded patch sequences")
CLIP = _batched("CLIPVisionModel", ClipEncoder, "one image or tile per row of the batch, CLS")
IDEFICS3, SMOLVLM = (
    _batched(name, Idefics3Encoder, "padded images or tiles")
    for name in ("Idefics3VisionTransformer", "SmolVLMVisionTransformer")
)
DINOV2 = _batched(
    "Dinov2Model",
    Dinov2Encoder,
    "one image per row of the batch, CLS",
    tuned={
        Size(width=384, depth=12): Tuned(
            Progressive(reduction_ratio=0.65), "benchmarks/results/dinov2.json", "progressive 0.65"
        )
    },
)
DINOV2_REGISTERS = _batched(
    "Dinov2WithRegistersModel", Dinov2Encoder, "one image per row of the batch, CLS and registers"
)
DINOV3 = _batched(
    "DINOv3ViTModel", Dinov3Encoder, "one image per row of the batch, CLS and registers, rotary"
)
