"""Records of the families whose vision encoder has packed rows, projected at once: Qwen, GLM."""

from __future__ import annotations

from functools import partial

from ipcv.families.decoders import decoder, deepstack_decoder
from ipcv.families.images import packed_images
from ipcv.families.records import EncoderKind, Family, Size, Tuned
from ipcv.vision.adapters.packed import (
    DeepStackEncoder,
    DotsEncoder,
    FramesEncoder,
    NormedEncoder,
    PackedEncoder,
    WindowedEncoder,
)
from ipcv.vision.adapters.separate import GroupedEncoder
from ipcv.vision.adaptive import Adaptive
from ipcv.vision.ipcv import IPCV

_encoder = partial(
    EncoderKind,
    adapter=PackedEncoder,
    shape="packed rows, full attention per frame",
    settings=IPCV(prune_layer=3, reduction_ratio=0.65, stabilization_layers=7, num_neighbors=10),
    depth=32,
)
_deepstack_encoder = partial(
    _encoder,
    adapter=DeepStackEncoder,
    shape="packed rows, full attention per frame, DeepStack",
)
_family = partial(
    Family,
    item="image or video",
    patches_per_token=lambda config: config.vision_config.spatial_merge_size**2,
    image_arguments=packed_images,
)

QWEN2_VL = _encoder(
    "Qwen2VisionTransformerPretrainedModel",
    published=True,
    tuned={
        Size(width=128, depth=8): Tuned(
            Adaptive(reduction_ratio=0.5, smooth_share=1.0),
            "benchmarks/results/suite.json",
            "ipcv 0.5",
        )
    },
)
_windowed_encoder = partial(
    _encoder,
    adapter=WindowedEncoder,
    shape="packed rows, attention in windows and, in some blocks, per frame",
)
QWEN2_5_VL = _windowed_encoder("Qwen2_5_VisionTransformerPretrainedModel")
QWEN3_VL = _deepstack_encoder("Qwen3VLVisionModel")
GLM4V = _encoder("Glm4vVisionModel", adapter=FramesEncoder)

PACKED = (
    _family(
        "Qwen2-VL",
        ("qwen2_vl", "qwen2_vl_vision"),
        (QWEN2_VL,),
        "Qwen/Qwen2-VL-7B-Instruct",
        decoder=decoder(("Qwen2VLTextModel",)),
        served={"qwen2_vl": "Qwen2VLForConditionalGeneration"},
    ),
    _family(
        "Qwen2.5-VL",
        ("qwen2_5_vl", "qwen2_5_vl_vision"),
        (QWEN2_5_VL,),
        "Qwen/Qwen2.5-VL-7B-Instruct",
        decoder=decoder(("Qwen2_5_VLTextModel",)),
        served={"qwen2_5_vl": "Qwen2_5_VLForConditionalGeneration"},
    ),
    _family(
        "Qwen3-VL",
        ("qwen3_vl", "qwen3_vl_vision"),
        (QWEN3_VL,),
        "Qwen/Qwen3-VL-8B-Instruct",
        decoder=deepstack_decoder(("Qwen3VLTextModel",)),
        served={"qwen3_vl": "Qwen3VLForConditionalGeneration"},
    ),
    _family(
        "Qwen3-VL MoE",
        ("qwen3_vl_moe", "qwen3_vl_moe_vision"),
        (_deepstack_encoder("Qwen3VLMoeVisionModel"),),
        "Qwen/Qwen3-VL-30B-A3B-Instruct",
        decoder=deepstack_decoder(("Qwen3VLMoeTextModel",)),
        served={"qwen3_vl_moe": "Qwen3VLMoeForConditionalGeneration"},
    ),
    _family(
        "Qwen3.5",
        ("qwen3_5", "qwen3_5_vision"),
        (_encoder("Qwen3_5VisionModel"),),
        "Qwen/Qwen3.5-27B",
    ),
    _family(
        "Qwen3.5 MoE",
        ("qwen3_5_moe", "qwen3_5_moe_vision"),
        (_encoder("Qwen3_5MoeVisionModel"),),
        "Qwen/Qwen3.5-35B-A3B",
    ),
    _family(
        "Qwen3.8-Flash-Next",
        ("qwen4_exp", "qwen4_exp_vision"),
        (_encoder("Qwen4ExpVisionModel"),),
        "Qwen/Qwen3.8-Flash-Next",
    ),
    Family(
        "Qwen3-Omni (vision)",
        ("qwen3_omni_moe_thinker", "qwen3_omni_moe", "qwen3_omni_moe_vision_encoder"),
        (_deepstack_encoder("Qwen3OmniMoeVisionEncoder"),),
        "Qwen/Qwen3-Omni-30B-A3B-Instruct",
        item="image or video",
        decoder=deepstack_decoder(("Qwen3OmniMoeThinkerTextModel",)),
    ),
    Family(
        "GLM-4.1V, GLM-4.6V",
        ("glm4v", "glm46v", "glmga", "glm4v_vision"),
        (GLM4V,),
        "zai-org/GLM-4.1V-9B-Thinking",
        item="image or video frame",
        decoder=decoder(("Glm4vTextModel",)),
        served={"glm4v": "Glm4vForConditionalGeneration"},
    ),
    Family(
        "GLM-4.5V",
        ("glm4v_moe", "glm4v_moe_vision"),
        (_encoder("Glm4vMoeVisionModel", adapter=FramesEncoder),),
        "zai-org/GLM-4.5V",
        item="image or video frame",
        decoder=decoder(("Glm4vMoeTextModel",)),
        served={"glm4v_moe": "Glm4vMoeForConditionalGeneration"},
    ),
    Family(
        "GLM-OCR",
        ("glm_ocr", "glm_ocr_vision"),
        (_encoder("GlmOcrVisionModel", adapter=NormedEncoder),),
        "zai-org/GLM-OCR",
        item="image or video frame",
        decoder=decoder(("GlmOcrTextModel",)),
        served={"glm_ocr": "GlmOcrForConditionalGeneration"},
    ),
    Family(
        "GLM-5.3",
        ("glm5_next", "glm5_next_vision"),
        (_encoder("Glm5NextVisionModel", adapter=NormedEncoder),),
        "zai-org/GLM-5.3-Flash",
        item="image or video frame",
    ),
    Family(
        "ERNIE 4.5 VL",
        ("ernie4_5_vl_moe", "ernie4_5_vl_moe_vision"),
        (_encoder("Ernie4_5_VLMoeVisionTransformerPretrainedModel"),),
        "baidu/ERNIE-4.5-VL-28B-A3B-PT",
        item="image or video",
    ),
    Family(
        "Cohere Compass",
        ("cohere_compass", "cohere_compass_vision"),
        (_deepstack_encoder("CohereCompassVisionModel"),),
        "CohereLabs/North-Micro-Vision-Instruct",
    ),
    Family(
        "EXAONE 4.5",
        ("exaone4_5", "exaone4_5_vision"),
        (_windowed_encoder("Exaone4_5_VisionModel", adapter=GroupedEncoder),),
        "LGAI-EXAONE/EXAONE-4.5-33B",
        item="image or video",
    ),
    Family(
        "dots3",
        ("dots3_note", "dots3_note_vision_encoder"),
        (_encoder("Dots3NoteVisionModel", adapter=DotsEncoder),),
        "dots-studio/dots3-note-prev",
        item="image or video",
    ),
)
