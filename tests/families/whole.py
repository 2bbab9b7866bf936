"""Tiny random whole models whose vision encoder is in `towers.py`, or that of another family.

Each gets one prompt with two images.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from inspect import signature

import torch
import transformers
from torch import nn

from ipcv.families import family_of, find_decoder
from tests.vision.adapters import towers
from tests.vision.adapters.families import (
    CLIP,
    DEEPSTACK,
    EXPERTS,
    IMAGE_TOKEN,
    MROPE,
    PINPOINTS,
    QWEN_TOKENS,
    ROPE,
    SIDE,
    SIGLIP,
    TEXT,
    VISION,
    VISION_WIDTH,
    images,
    random,
    randomize,
    tokens,
)

MEDIA = ["small", "large"]


@dataclass(frozen=True)
class Whole:
    """A model.

    Attributes:
        options: makes the arguments of its configuration.
        images: what it takes for the images of `MEDIA`.
        lengths: the tokens of each; in Pixtral, of each row, as text is in between.
        patches: of each item of the encoder's call.
    """

    options: Callable[[], dict]
    images: Callable[[], dict]
    lengths: tuple[int, ...]
    patches: tuple[int, ...]


@cache
def build(name: str, attention: str = "sdpa") -> nn.Module:
    """A model in eval mode; the same object every time."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(name, **deepcopy(WHOLE[name].options()))
    kind = transformers.AutoModelForImageTextToText
    given = {} if name == "git" else {"attn_implementation": attention}
    model = kind.from_config(config, **given)
    randomize(model)
    if family_of(name).decoder:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in (*find_decoder(model).model.parameters(), *model.lm_head.parameters()):
                parameter.normal_(0, 0.3, generator=generator)
    if model.can_generate():
        model.generation_config.eos_token_id = None  # never stop early
    return model.eval()


def inputs(name: str) -> dict:
    model, whole = build(name), WHOLE[name]
    prompt = tokens([[(IMAGE_TOKEN, length) for length in whole.lengths]])
    is_image = prompt["input_ids"] == IMAGE_TOKEN
    others = {"mm_token_type_ids": is_image.int(), "image_embeds_position_mask": is_image}
    taken = signature(model.forward).parameters
    return prompt | {key: x for key, x in others.items() if key in taken} | whole.images()


def packed(tower: str | dict, merge: int = 2, names: dict | None = None, **options) -> Whole:
    """Packed rows of the grids of `MEDIA`; `merge ** 2` patches make a token."""

    def config() -> dict:
        vision = tower if isinstance(tower, dict) else towers.TOWERS[tower].config().to_dict()
        return QWEN_TOKENS | {"vision_config": vision, "text_config": TEXT} | options

    def make() -> dict:
        name = "glm_ocr_vision" if isinstance(tower, dict) else tower
        taken = towers.TOWERS[name].inputs(towers.build(name), [MEDIA])
        called = {"hidden_states": "pixel_values", "grid_thw": "image_grid_thw"} | (names or {})
        if tower == "paddleocr_vl_vision":
            taken["pixel_values"] = taken["pixel_values"][0]
        return {called.get(key, key): value for key, value in taken.items()}

    return Whole(config, make, (16 // merge**2, 48 // merge**2), (16, 48))


def batched(
    vision: dict, text: str, length: int, make: Callable[[], dict] | None = None, **options
) -> Whole:
    """Images of 8 x 8 patches, each with as many tokens."""
    kind = {"model_type": text} if text else {}
    sizes = {"vision_config": VISION | {"image_size": SIDE} | vision, "text_config": TEXT | kind}
    given = {"image_token_id": IMAGE_TOKEN} | sizes
    return Whole(lambda: given | options, make or squares, (length,) * 2, (64, 64))


def squares(**others) -> dict:
    return {"pixel_values": images(MEDIA)} | others


def with_sizes() -> dict:
    return squares(image_sizes=torch.tensor([[SIDE, SIDE]] * 2))


def tiled() -> dict:
    """Two tiles of a small image, three of a large one."""
    tiles = [random(m, n, 3, SIDE, SIDE) for m, n in zip(MEDIA, (2, 3), strict=True)]
    pixels = nn.utils.rnn.pad_sequence(tiles, batch_first=True)
    return {"pixel_values": pixels, "image_sizes": torch.tensor([(30, 30), (60, 32)])}


def in_one_row() -> dict:
    return {"pixel_values": images(MEDIA)[None]}


def in_one_row_with_mask() -> dict:
    return in_one_row() | {"pixel_attention_mask": torch.ones(1, 2, dtype=torch.bool)}


def naflex() -> dict:
    return {
        "pixel_values": random("large", 2, 48, 48),
        "pixel_attention_mask": torch.ones(2, 48, dtype=torch.int),
        "spatial_shapes": torch.tensor([[6, 8], [8, 6]]),
    }


def gemma4(others: dict | None = None, **text) -> Whole:
    """`others`: what it takes beside the images."""

    def config() -> dict:
        return {
            "image_token_id": IMAGE_TOKEN,
            "vision_config": towers.TOWERS["gemma4_vision"].config().to_dict(),
            "text_config": TEXT | {"global_head_dim": 8} | text,
        }

    def make() -> dict:
        taken = towers.GEMMA4.inputs(None, [MEDIA])
        return {
            "pixel_values": taken["pixel_values"],
            "image_position_ids": taken["pixel_position_ids"],
        } | (others or {})

    return Whole(config, make, (6, 12), (24, 48))


def robot() -> dict:
    """Images of two cameras, and what a robot is to do next, as noise."""
    return in_one_row_with_mask() | {
        "state": random("state", 1, 8),
        "noise": random("actions", 1, 6, 8),
        "timestep": torch.ones(1),
    }


MTEXT = TEXT | MROPE
"""Positions of time, height and width."""
ALL_ROTARY = MTEXT | {"rope_parameters": MROPE["rope_parameters"] | {"partial_rotary_factor": 1.0}}
THREE_LAYERS = {"num_hidden_layers": 3}
GLM_EXPERTS = {
    "n_routed_experts": 2,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 16,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
LATENT_ATTENTION = {
    "n_routed_experts": 4,
    "n_group": 1,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "num_key_value_heads": 4,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
INDEXED = {"index_head_dim": 8, "index_n_heads": 2}
AUDIO = {
    "d_model": 32,
    "encoder_layers": 1,
    "encoder_ffn_dim": 32,
    "encoder_attention_heads": 2,
    "output_dim": 32,
    "num_mel_bins": 8,
}
DECODED = {"decoder_input_ids": torch.tensor([[1, 10, 11, 12]])}
"""What the decoder takes where the prompt goes to an encoder."""
QUERIES = {
    "num_query_tokens": 4,
    "qformer_config": {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "intermediate_size": 32,
        "encoder_hidden_size": 32,
        "vocab_size": 64,
    },
}
OPT = TEXT | {
    "model_type": "opt",
    "ffn_dim": 32,
    "word_embed_proj_dim": 32,
    "max_position_embeddings": 128,
}
GROUPED = {"head_dim": 8, "num_key_value_heads": 4}
QWEN = VISION_WIDTH | {"patch_size": 4, "num_heads": 4, "depth": 4}
WINDOWS = {"window_size": 16, "fullatt_block_indexes": [1, 3]}
PIXTRAL = {"model_type": "pixtral", "head_dim": 8}
COHERE = {"downsample_factor": 2, "alignment_intermediate_size": 32}
GLM46V = packed("glm4v_vision", text_config=MTEXT | {"model_type": "glm4v_text"})

WHOLE = {
    "glm4v": packed("glm4v_vision", text_config=MTEXT),
    "glm46v": GLM46V,
    "glmga": GLM46V,  # of the same classes
    "glm4v_moe": packed("glm4v_moe_vision", text_config=ALL_ROTARY | GLM_EXPERTS),
    "glm_ocr": packed("glm_ocr_vision", text_config=ALL_ROTARY),
    "ernie4_5_vl_moe": packed(
        "ernie4_5_vl_moe_vision",
        text_config=MTEXT
        | {
            "moe_num_experts": 2,
            "moe_k": 1,
            "moe_num_shared_experts": 1,
            "moe_intermediate_size": [16, 16],
        },
    ),
    "cohere_compass": packed(
        "cohere_compass_vision",
        text_config=TEXT | {"rope_parameters": {"full_attention": ROPE, "sliding_attention": ROPE}},
    ),
    "exaone4_5": packed("exaone4_5_vision", text_config=TEXT | {"model_type": "exaone4"}),
    "video_llama_3": packed(
        "video_llama_3_vision",
        merge=1,
        names={"merge_sizes": "image_merge_sizes"},
        text_config=TEXT | {"model_type": "qwen2"},
    ),
    "paddleocr_vl": packed("paddleocr_vl_vision", text_config=MTEXT),
    "kimi_k25": packed(
        "kimi_k25_vision",
        projection_hidden_size=32,
        text_config=TEXT | LATENT_ATTENTION | {"model_type": "deepseek_v3"},
    ),
    "minimax_m3_vl": packed("minimax_m3_vl_vision"),
    "cosmos3_edge": packed("cosmos3_edge_vision", text_config=MTEXT),
    "muse_glimmer": packed("muse_glimmer_vision", out_hidden_size=128, projector_hidden_size=32),
    "hyperclovax_vision_v2": packed(QWEN | WINDOWS | {"model_type": "qwen2_5_vl_vision"}),
    "qwen3_omni_moe_thinker": packed(
        "qwen3_omni_moe_vision_encoder",
        text_config=TEXT | MROPE | EXPERTS | THREE_LAYERS,
        audio_config=AUDIO,
    ),
    "qwen2_5_omni_thinker": packed(
        "qwen2_5_omni_vision_encoder",
        image_token_index=IMAGE_TOKEN,
        audio_config=AUDIO,
        text_config=MTEXT,
    ),
    "cosmos3_omni": packed(
        QWEN | DEEPSTACK | {"model_type": "qwen3_vl_vision"},
        text_config=TEXT | MROPE | THREE_LAYERS,
    ),
    "llava": replace(
        batched(
            PIXTRAL,
            "mistral",
            0,
            with_sizes,
            vision_feature_layer=-1,
            vision_feature_select_strategy="full",
        ),
        lengths=(8,) * 16,
    ),
    "mistral3": replace(
        batched(PIXTRAL, "mistral", 0, with_sizes, spatial_merge_size=2), lengths=(4,) * 8
    ),
    "lighton_ocr": batched(PIXTRAL, "qwen3", 16, with_sizes, spatial_merge_size=2),
    "aya_vision": batched(SIGLIP, "cohere2", 16, **COHERE),
    "cohere2_vision": batched(SIGLIP, "cohere2", 16, **COHERE),
    "deepseek_vl": batched(SIGLIP, "llama", 64),
    "vipllava": batched(CLIP, "llama", 64, vision_feature_layers=[-2, -3]),
    "llava_next_video": replace(
        batched(CLIP, "llama", 0, tiled, **PINPOINTS), lengths=(136, 208), patches=(128, 192)
    ),
    "janus": batched(
        {"projection_dim": 32, "mlp_ratio": 1.0},
        "llama",
        64,
        vq_config={
            "embed_dim": 8,
            "num_embeddings": 16,
            "base_channels": 32,
            "channel_multiplier": [1, 1],
            "num_res_blocks": 1,
            "latent_channels": 8,
            "projection_dim": 32,
            "image_token_embed_dim": 32,
            "hidden_size": 32,
        },
    ),
    "ovis2": batched(
        {"vocab_size": 16, "num_visual_indicator_tokens": 5, "hidden_stride": 2},
        "qwen2",
        16,
        vocab_size=64,
        hidden_size=32,
        visual_indicator_token_ids=[50, 51, 52, 53, 54],
    ),
    "qianfan_ocr": replace(
        batched(
            {"image_size": [SIDE, SIDE], "patch_size": [4, 4]},
            "qwen3",
            16,
            lambda: {"pixel_values": images(["small", "large", "large", "large"])},
        ),
        lengths=(16, 48),
        patches=(64, 192),
    ),
    "idefics2": batched(
        {},
        "mistral",
        4,
        in_one_row,
        perceiver_config={
            "hidden_size": 32,
            "resampler_n_latents": 4,
            "resampler_depth": 1,
            "resampler_n_heads": 2,
            "resampler_head_dim": 8,
            "num_key_value_heads": 1,
        },
    ),
    "aria": batched(
        {"model_type": "idefics3_vision"},
        "",
        16,
        projector_patch_to_query_dict={64: 16},
        text_config=TEXT | {"moe_num_experts": 2, "moe_topk": 1, "moe_num_shared_experts": 1},
    ),
    "step3p7": batched({}, "", 4, text_config=TEXT | {"sliding_window": 64, "moe_num_experts": 2}),
    "lfm2_vl": Whole(
        lambda: {
            "image_token_id": IMAGE_TOKEN,
            "vision_config": VISION
            | {"model_type": "siglip2_vision_model", "num_patches": 16, "vision_use_head": False},
            "text_config": TEXT | {"model_type": "lfm2", "layer_types": ["conv", "full_attention"]},
            "downsample_factor": 2,
        },
        naflex,
        (12, 12),
        (48, 48),
    ),
    "gemma4": gemma4(hidden_size_per_layer_input=8, vocab_size_per_layer_input=64),
    "diffusion_gemma": gemma4(DECODED, num_experts=2, top_k_experts=1, moe_intermediate_size=16),
    "llama4": batched(
        {
            "intermediate_size": 128,
            "vision_output_dim": 32,
            "projector_input_dim": 32,
            "projector_output_dim": 32,
        },
        "",
        16,
        text_config=TEXT | {"intermediate_size_mlp": 32, "num_local_experts": 2},
    ),
    "hunyuan_vl": replace(
        packed(
            "hunyuan_vl_vision",
            text_config=TEXT
            | {
                "rope_parameters": ROPE
                | {"rope_type": "dynamic", "factor": 1.0, "xdrope_section": [1, 1, 1, 1]}
            },
        ),
        lengths=(8, 17),
    ),
    "granite_docling": batched(
        {"deepstack_visual_indexes": [1, 2], "out_hidden_size": 32}, "", 4, in_one_row_with_mask
    ),
    "mistral_large4": batched(
        PIXTRAL,
        "",
        16,
        with_sizes,
        text_config=TEXT | LATENT_ATTENTION | INDEXED | {"head_dim": 16},
    ),
    "glm5_next": packed(
        "glm5_next_vision",
        text_config=TEXT
        | LATENT_ATTENTION
        | INDEXED
        | {
            "head_dim": 0,
            "qk_rope_head_dim": 0,
            "linear_head_dim": 8,
            "linear_num_heads": 2,
            "hc_mult": 2,
            "layer_types": ["linear_attention", "full_attention"],
        },
    ),
    "muse_spark": packed(
        "muse_spark_vision",
        out_hidden_size=128,
        projector_hidden_size=32,
        text_config=TEXT
        | {
            "moe_intermediate_size": 16,
            "moe_hidden_size": 16,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
        },
        audio_config={"out_hidden_size": 32, "hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]},
    ),
    "dots3_note": packed(
        "dots3_note_vision_encoder",
        text_config=TEXT | LATENT_ATTENTION | INDEXED | {"shared_experts_intermediate_size": 16},
        audio_config={
            "hidden_size": 32,
            "adapter_input_size": 32,
            "adapter_out_dim": 32,
            "num_attention_heads": 4,
            "num_hidden_layers": 1,
        },
    ),
    "molmo2": Whole(
        lambda: {
            "image_token_id": IMAGE_TOKEN,
            "vision_config": VISION | GROUPED | {"num_position_embeddings": 64},
            "text_config": TEXT,
            "adapter_config": GROUPED
            | {
                "hidden_size": 32,
                "num_attention_heads": 4,
                "intermediate_size": 32,
                "text_hidden_size": 32,
                "vision_feature_layer": [-1, -2],
            },
        },
        lambda: {
            "pixel_values": random("large", 2, 64, 48),
            "image_token_pooling": torch.arange(128).view(32, 4),
            "image_grids": torch.tensor([[4, 4, 0, 0]] * 2),
        },
        (16, 16),
        (64, 64),
    ),
    "deepseek_vl_hybrid": batched(
        SIGLIP,
        "llama",
        64,
        lambda: squares(high_res_pixel_values=random("large", 2, 3, 64, 64)),
        high_res_vision_config={
            "hidden_size": 32,
            "output_channels": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 16,
            "mlp_dim": 32,
            "global_attn_indexes": [1],
            "window_size": 2,
        },
    ),
    "t5gemma2": Whole(
        lambda: {
            "image_token_index": IMAGE_TOKEN,
            "encoder": {
                "vision_config": VISION | SIGLIP | {"image_size": SIDE},
                "text_config": TEXT,
                "mm_tokens_per_image": 16,
            },
            "decoder": TEXT,
        },
        lambda: squares(**DECODED),
        (16, 16),
        (64, 64),
    ),
    "pi0": Whole(
        lambda: {
            "vlm_config": {
                "model_type": "paligemma",
                "image_token_id": IMAGE_TOKEN,
                "vision_config": VISION | SIGLIP | {"image_size": SIDE},
                "text_config": TEXT | {"model_type": "gemma"},
                "projection_dim": 32,
            },
            "dit_config": TEXT | {"model_type": "gemma"},
            "chunk_size": 6,
            "max_state_dim": 8,
            "max_action_dim": 8,
        },
        robot,
        (64, 64),
        (64, 64),
    ),
    "shieldgemma2": batched(SIGLIP, "", 16, mm_tokens_per_image=16),
    "kosmos-2": batched(
        {},
        "",
        4,
        latent_query_num=4,
        text_config=TEXT
        | {
            "embed_dim": 32,
            "layers": 2,
            "attention_heads": 4,
            "ffn_dim": 32,
            "max_position_embeddings": 128,
        },
    ),
    "git": Whole(
        lambda: TEXT | {"vision_config": VISION | {"image_size": SIDE}},
        lambda: {"pixel_values": images(["large"])},
        (),
        (64,),
    ),
    "granite4_vision": replace(
        batched(
            SIGLIP | {"hidden_size": 64},
            "granite4_vision_text",
            0,
            tiled,
            deepstack_layer_map=[(-1, 0)],
            vision_feature_select_strategy="full",
            downsample_rate="1/2",
            image_token_index=IMAGE_TOKEN,
            **PINPOINTS,
        ),
        lengths=(36, 56),
        patches=(128, 192),
    ),
    "blip-2": batched({}, "", 4, text_config=OPT, **QUERIES),
    "instructblip": batched(
        {},
        "",
        4,
        lambda: squares(qformer_input_ids=torch.ones(2, 3, dtype=torch.int64)),
        text_config=OPT,
        **QUERIES,
    ),
    "instructblipvideo": replace(
        batched(
            {},
            "",
            0,
            lambda: in_one_row() | {"qformer_input_ids": torch.ones(1, 3, dtype=torch.int64)},
            video_token_id=IMAGE_TOKEN,
            text_config=OPT,
            **QUERIES,
        ),
        lengths=(8,),
    ),
}
