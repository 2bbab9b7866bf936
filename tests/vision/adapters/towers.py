"""Tiny random vision encoders, each alone, of the families that are near copies of others.

They run through the short matrix of `test_towers.py`; `families.py` has what runs through the long.
"""

from functools import partial
from importlib.util import find_spec
from math import prod
from typing import ClassVar

import torch
from torch import nn

from tests.vision.adapters.families import (
    DEEPSTACK,
    GRIDS,
    SIDE,
    VISION,
    VISION_WIDTH,
    Bare,
    Family,
    Item,
    NaFlex,
    Padded,
    Prompts,
    built,
    flat,
    model_class,
    qwen_items,
    random,
    tile_items,
)

QWEN = VISION_WIDTH | {"patch_size": 4, "num_heads": 4, "depth": 4}


WITHOUT_SDPA = ("git_vision_model",)


def build(name: str, attention: str = "sdpa") -> nn.Module:
    return built(TOWERS[name], "eager" if name in WITHOUT_SDPA else attention)


def tower(name: str, inputs, items, has_video: bool = False, **options) -> Family:
    """`options`: of the encoder's configuration."""

    def config():
        return model_class(name).config_class(**options)

    return Family(name, config, inputs, items, has_video)


def packed(
    name: str,
    pixels: str = "hidden_states",
    shape=(3 * 2 * 4 * 4,),
    has_video: bool = True,
    **options,
) -> Family:
    """Rows of all images and videos; pixels of a patch have this shape."""

    def inputs(model: nn.Module, prompts: Prompts) -> dict:
        media = flat(prompts)
        return {
            pixels: torch.cat([random(m, prod(GRIDS[m]), *shape) for m in media]),
            "grid_thw": torch.tensor([GRIDS[m] for m in media]),
        }

    return tower(name, inputs, qwen_items, has_video, **options)


def whole(family: Family) -> Family:
    """Its images and videos are attended whole, not frame by frame."""

    def items(model: nn.Module, prompts: Prompts) -> list[Item]:
        found = family.items(model, prompts)
        return [
            Item(item.groups, partial(lambda rows, block: rows, item.groups), frames=item.frames)
            for item in found
        ]

    return Family(family.class_name, family.config, family.inputs, items, family.has_video)


def with_inputs(family: Family, change) -> Family:
    """Other inputs: `change` is given those, and the media."""

    def inputs(model: nn.Module, prompts: Prompts) -> dict:
        return change(family.inputs(model, prompts), flat(prompts))

    return Family(family.class_name, family.config, inputs, family.items, family.has_video)


def merge_sizes(inputs: dict, media: list[str]) -> dict:
    return inputs | {"merge_sizes": torch.tensor([2 if m == "video" else 1 for m in media])}


def in_a_batch(inputs: dict, media: list[str]) -> dict:
    return inputs | {"pixel_values": inputs["pixel_values"][None]}


class Pixtral:
    """Images of different size, padded to one, of which only the patches go on."""

    def __init__(self) -> None:
        self.grids = {"small": (4, 5), "large": (6, 8)}

    def inputs(self, model: nn.Module, prompts: Prompts) -> dict:
        grids = [self.grids[m] for m in flat(prompts)]
        pixels = torch.zeros(len(grids), 3, SIDE, SIDE)
        for image, medium, (height, width) in zip(pixels, flat(prompts), grids, strict=True):
            image[:, : 4 * height, : 4 * width] = random(medium, 3, 4 * height, 4 * width)
        return {"pixel_values": pixels, "image_sizes": 4 * torch.tensor(grids)}

    def items(self, model: nn.Module, prompts: Prompts) -> list[Item]:
        lengths = [prod(self.grids[m]) for m in flat(prompts)]
        return [
            Item([rows], lambda block, rows=rows: [rows])
            for rows in torch.arange(sum(lengths)).split(lengths)
        ]


def square(name: str, protected: int = 0, **options) -> Family:
    """One image of 8 x 8 patches per row of the batch."""
    shape = Bare(protected)
    return tower(name, shape.inputs, shape.items, **VISION | {"image_size": SIDE} | options)


class ClsLast(Bare):
    """Llama 4: the CLS token comes behind the patches."""

    def items(self, model: nn.Module, prompts: Prompts) -> list[Item]:
        return [
            Item(groups, lambda block, groups=groups: groups, protected=1)
            for groups in (
                [torch.arange(65).roll(1) + 65 * i] for i in range(sum(map(len, prompts)))
            )
        ]


class Patches(Bare):
    """The same, cut into patches."""

    def inputs(self, model: nn.Module, prompts: Prompts) -> dict:
        return {"pixel_values": torch.stack([random(m, 64, 3 * 4 * 4) for m in flat(prompts)])}


class Videos:
    """V-JEPA 2: videos of 2 x 4 x 4 patches; an image is a video that stands still."""

    def inputs(self, model: nn.Module, prompts: Prompts) -> dict:
        return {
            "pixel_values_videos": torch.stack([random(m, 4, 3, 16, 16) for m in flat(prompts)])
        }

    def items(self, model: nn.Module, prompts: Prompts) -> list[Item]:
        found = tile_items([1] * len(flat(prompts)), 32, 0)
        return [Item(item.groups, item.segments, frames=2) for item in found]


class PaddedImages(Padded):
    """Idefics2 alone: a mask of patches."""

    def inputs(self, model: nn.Module, prompts: Prompts) -> dict:
        inputs = super().inputs(model, [[medium] for medium in flat(prompts)])
        mask = inputs["pixel_attention_mask"][:, 0, ::4, ::4].contiguous()
        return {"pixel_values": inputs["pixel_values"][:, 0], "patch_attention_mask": mask}


class PaddedPatches(NaFlex):
    """Gemma 4: patches with their places, padded to 48."""

    grids: ClassVar = {"small": (4, 6), "large": (6, 8)}

    def inputs(self, model: nn.Module, prompts: Prompts) -> dict:
        places = torch.full((len(flat(prompts)), 48, 2), -1)
        for place, medium in zip(places, flat(prompts), strict=True):
            height, width = self.grids[medium]
            grid = torch.cartesian_prod(torch.arange(height), torch.arange(width)).flip(1)
            place[: len(grid)] = grid
        pixels = torch.stack([random(m, 48, 3 * 4 * 4) for m in flat(prompts)])
        return {"pixel_values": pixels, "pixel_position_ids": places}


def in_windows(family: Family) -> Family:
    """Muse: windows of 4 x 4 patches, but in full attention."""

    def items(model: nn.Module, prompts: Prompts) -> list[Item]:
        found, media = family.items(model, prompts), flat(prompts)
        return [
            Item(item.groups, partial(segments, model, item, GRIDS[medium]), frames=item.frames)
            for item, medium in zip(found, media, strict=True)
        ]

    def segments(model, item: Item, grid: tuple[int, int, int], block: int) -> list[torch.Tensor]:
        frames, height, width = grid
        (rows,) = item.groups
        if model.config.layer_types[block] == "full_attention":
            return list(rows.split(height * width))
        corners = [(y, x) for y in range(0, height, 4) for x in range(0, width, 4)]
        lengths = [min(4, height - y) * min(4, width - x) for y, x in corners]
        return list(rows.split(lengths * frames))

    return Family(family.class_name, family.config, family.inputs, items, family.has_video)


PIXTRAL = Pixtral()
GEMMA4, IDEFICS2, MOLMO2 = PaddedPatches(), PaddedImages(), Patches()
MUSE = VISION | {
    "pos_emb_height": 4,
    "pos_emb_width": 4,
    "merge_size": 2,
    "layer_types": ["window_attention", "full_attention"] * 2,
}
SQUARE = (3, 4, 4)
FLAT = (3 * 4 * 4,)
TOWERS = {
    "glm4v_vision": packed("Glm4vVisionModel", has_video=False, image_size=32, **QWEN),
    "glm4v_moe_vision": packed("Glm4vMoeVisionModel", has_video=False, image_size=32, **QWEN),
    "glm_ocr_vision": packed("GlmOcrVisionModel", **QWEN),
    "glm5_next_vision": packed("Glm5NextVisionModel", projection_intermediate_size=32, **QWEN),
    "ernie4_5_vl_moe_vision": packed(
        "Ernie4_5_VLMoeVisionTransformerPretrainedModel", shape=FLAT, **QWEN
    ),
    "cohere_compass_vision": packed("CohereCompassVisionModel", **QWEN | DEEPSTACK),
    "qwen3_omni_moe_vision_encoder": packed(
        "qwen3_omni_moe.Qwen3OmniMoeVisionEncoder", **QWEN | DEEPSTACK
    ),
    "exaone4_5_vision": packed(
        "Exaone4_5_VisionModel",
        num_key_value_heads=2,
        window_size=16,
        fullatt_block_indexes=[1, 3],
        **QWEN,
    ),
    "qwen2_5_omni_vision_encoder": packed(
        "qwen2_5_omni.Qwen2_5OmniVisionEncoder",
        window_size=16,
        fullatt_block_indexes=[1, 3],
        **QWEN,
    ),
    "dots3_note_vision_encoder": packed(
        "Dots3NoteVisionModel",
        "pixel_values",
        FLAT,
        adapter_in_dim=32,
        adapter_out_dim=32,
        moe_intermediate_size=16,
        mlp_layer_types=["dense", "dense", "sparse", "sparse"],
        num_local_experts=4,
        per_layer_config={},
        **VISION,
    ),
    "video_llama_3_vision": with_inputs(
        packed("VideoLlama3VisionModel", "pixel_values", FLAT, **VISION), merge_sizes
    ),
    "paddleocr_vl_vision": with_inputs(
        packed("PaddleOCRVisionTransformer", "pixel_values", SQUARE, image_size=32, **VISION),
        in_a_batch,
    ),
    "kimi_k25_vision": whole(
        packed(
            "Kimi_K25VisionModel",
            "pixel_values",
            SQUARE,
            pos_emb_height=8,
            pos_emb_width=8,
            pos_emb_time=8,
            **VISION,
        )
    ),
    "minimax_m3_vl_vision": whole(packed("MiniMaxM3VLVisionModel", "pixel_values", **VISION)),
    "hunyuan_vl_vision": packed(
        "HunYuanVLVisionTransformer",
        "pixel_values",
        FLAT,
        has_video=False,
        max_image_size=32,
        out_hidden_size=32,
        text_hidden_size=32,
        **VISION,
    ),
    "cosmos3_edge_vision": packed(
        "Cosmos3EdgeVisionModel", "pixel_values", FLAT, num_patches=16, **VISION
    ),
    "pixtral": tower(
        "PixtralVisionModel", PIXTRAL.inputs, PIXTRAL.items, image_size=SIDE, head_dim=8, **VISION
    ),
    "gemma4_vision": tower(
        "Gemma4VisionModel",
        GEMMA4.inputs,
        GEMMA4.items,
        num_key_value_heads=4,
        head_dim=8,
        pooling_kernel_size=2,
        position_embedding_size=16,
        **VISION,
    ),
    "llama4_vision_model": tower(
        "Llama4VisionModel",
        ClsLast().inputs,
        ClsLast().items,
        image_size=SIDE,
        vision_output_dim=32,
        projector_input_dim=32,
        projector_output_dim=32,
        pixel_shuffle_ratio=0.5,
        **VISION | {"intermediate_size": 128},
    ),
    "step3p5_vision": square("Step3p7VisionModel"),
    "muse_spark_vision": in_windows(packed("MuseSparkVisionModel", "pixel_values", **MUSE)),
    "muse_glimmer_vision": in_windows(packed("MuseGlimmerVisionModel", "pixel_values", **MUSE)),
    "molmo2_vision": tower(
        "Molmo2VisionModel",
        MOLMO2.inputs,
        MOLMO2.items,
        num_key_value_heads=4,
        head_dim=8,
        num_position_embeddings=64,
        **VISION,
    ),
    "idefics2_vision": tower(
        "idefics2.Idefics2VisionTransformer",
        IDEFICS2.inputs,
        IDEFICS2.items,
        image_size=SIDE,
        **VISION,
    ),
    "ovis2_vision": square("ovis2.Ovis2VisionModel", vocab_size=16, num_visual_indicator_tokens=2),
    "granite_docling_vision": square("GraniteDoclingVisionModel", deepstack_visual_indexes=[1, 2]),
    "qianfan_ocr_vision": square(
        "QianfanOCRVisionModel", 1, image_size=[SIDE, SIDE], patch_size=[4, 4]
    ),
    "janus_vision_model": square("JanusVisionModel"),
    "kosmos_2_vision_model": square("kosmos2.Kosmos2VisionTransformer", 1),
    "git_vision_model": square("GitVisionModel", 1),
    "blip_2_vision_model": square("Blip2VisionModel", 1),
    "instructblip_vision_model": square("InstructBlipVisionModel", 1),
    "instructblipvideo_vision_model": square("InstructBlipVideoVisionModel", 1),
    "vit": square("ViTModel", 1),
    "vit_msn": square("ViTMSNModel", 1),
    "deit": square("DeiTModel", 2),
    "ijepa": square("IJepaModel"),
    "vjepa2": tower(
        "VJEPA2Model",
        Videos().inputs,
        Videos().items,
        crop_size=16,
        frames_per_clip=4,
        pred_hidden_size=24,
        pred_num_attention_heads=1,
        pred_num_hidden_layers=1,
        **VISION,
    ),
    "aimv2_vision_model": square("Aimv2VisionModel"),
    "metaclip_2_vision_model": square("MetaClip2VisionModel", 1),
    "altclip_vision_model": square("AltCLIPVisionModel", 1),
    "chinese_clip_vision_model": square("ChineseCLIPVisionModel", 1),
}


class TimmImages(Bare):
    """timm calls pixels `x`."""

    def inputs(self, model: nn.Module, prompts: Prompts) -> dict:
        return {"x": super().inputs(model, prompts)["pixel_values"]}


def timm(name: str, protected: int = 1, **options) -> Family:
    config = {
        "img_size": SIDE,
        "patch_size": 4,
        "embed_dim": 32,
        "depth": 4,
        "num_heads": 4,
        "num_classes": 4,
    }
    shape = TimmImages(protected)
    return Family(f"timm.{name}", lambda: config | options, shape.inputs, shape.items)


TIMM = {  # what differs between those that timm names
    "timm-vit": timm("VisionTransformer", init_values=0.1),
    "timm-siglip": timm("VisionTransformer", 0, class_token=False, global_pool="map"),
    "timm-registers": timm(
        "VisionTransformer", 5, reg_tokens=4, qk_norm=True, scale_attn_norm=True
    ),
    "timm-deit-distilled": timm("VisionTransformerDistilled", 2),
    "timm-eva": timm("Eva", qkv_fused=False),
    "timm-eva02": timm("Eva", use_rot_pos_emb=True, swiglu_mlp=True, scale_mlp=True),
    "timm-pe": timm("Eva", use_rot_pos_emb=True, attn_type="rope", use_pre_transformer_norm=True),
    "timm-dinov3": timm(
        "Eva", 5, use_rot_pos_emb=True, rope_type="dinov3", rope_rotate_half=True, num_reg_tokens=4
    ),
    "timm-sapiens2": timm(
        "Eva", use_rot_pos_emb=True, attn_type="rope", qkv_fused=False, num_kv_heads=2, qk_norm=True
    ),
}
if find_spec("timm"):
    TOWERS |= TIMM
