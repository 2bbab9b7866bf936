"""Tiny random models of every supported family, and prompts for them.

A prompt is a list of media: "small" and "large" images, or a "video". A vision encoder has 4
blocks, 32 channels and sees at most some 70 patches per image or tile.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module
from math import prod
from typing import ClassVar

import torch
import transformers
from torch import nn

from ipcv.families import find_encoder

TEXT = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "patch_size": 4,
}
SPECIAL_TOKENS = IMAGE_TOKEN, VIDEO_TOKEN, VISION_START, VISION_END = [60, 61, 62, 63]
QWEN_TOKENS = {
    "image_token_id": IMAGE_TOKEN,
    "video_token_id": VIDEO_TOKEN,
    "vision_start_token_id": VISION_START,
    "vision_end_token_id": VISION_END,
}
Prompts = list[list[str]]


@dataclass(frozen=True)
class Family:
    """A model class with a tiny configuration.

    Attributes:
        class_name: the model, in `transformers`.
        config: makes its configuration; for models of timm, their arguments.
        inputs: what `forward` takes for some prompts.
        items: items of the encoder call for some prompts.
        has_video: whether "video" is one of the media.
    """

    class_name: str
    config: Callable[[], transformers.PreTrainedConfig | dict]
    inputs: Callable[[nn.Module, Prompts], dict]
    items: Callable[[nn.Module, Prompts], list["Item"]]
    has_video: bool = False


@dataclass(frozen=True)
class Item:
    """Rows of the flattened hidden states `(N, C)` that belong together.

    Attributes:
        groups: rows that compete: of each the same fraction is kept. Without padding.
        segments: for a block, the rows that attend each other.
        protected: rows at the start of each group that are always kept.
        frames: of a video whose rows follow each other frame by frame.
    """

    groups: list[torch.Tensor]
    segments: Callable[[int], list[torch.Tensor]]
    protected: int = 0
    frames: int = 1


@torch.no_grad()
def randomize(model: nn.Module) -> None:
    """Weights of the encoder large enough that every part of a block matters; no others zero."""
    generator = torch.Generator().manual_seed(0)
    for parameter in find_encoder(model)[1].parameters():
        parameter.normal_(0, 0.2, generator=generator)
    for parameter in model.parameters():
        if not parameter.any():
            parameter.normal_(0, 0.02, generator=generator)


def model_class(name: str) -> type[nn.Module]:
    """A public class of `transformers`, or one of a model's module, `module.Class`; or of timm."""
    if "." not in name:
        return getattr(transformers, name)
    folder, name = name.split(".")
    if folder == "timm":
        return getattr(import_module("timm.models"), name)
    return getattr(import_module(f"transformers.models.{folder}.modeling_{folder}"), name)


@cache
def built(family: Family, attention: str) -> nn.Module:
    """A model in eval mode; the same object every time."""
    torch.manual_seed(0)
    config, make = family.config(), model_class(family.class_name)
    if isinstance(config, dict):
        model = make(**config)
        for block in model.blocks:
            block.attn.fused_attn = attention == "sdpa"
    else:
        model = make._from_config(config, attn_implementation=attention)
    randomize(model)
    return model.eval()


def build(name: str, attention: str = "sdpa") -> nn.Module:
    return built(FAMILIES[name], attention)


def random(medium: str, *shape: int) -> torch.Tensor:
    """Always the same pixels for the same medium."""
    generator = torch.Generator().manual_seed(len(medium))
    return torch.randn(*shape, generator=generator)


def flat(prompts: Prompts) -> list[str]:
    return [medium for media in prompts for medium in media]


def tokens(prompts: list[list[tuple[int, int]]]) -> dict:
    """Left-padded ids: text, and for each medium a run of its token, `(token, length)`."""
    rows = []
    for media in prompts:
        ids = [10, 11]
        for token, length in media:
            ids += [VISION_START, *[token] * length, VISION_END, 12]
        rows.append([*ids, 13, 14])
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


# Packed rows: the Qwen family.

GRIDS = {"small": (1, 4, 4), "large": (1, 6, 8), "video": (5, 4, 6)}


def qwen_inputs(model: nn.Module, prompts: Prompts) -> dict:
    inputs = tokens(
        [
            [(VIDEO_TOKEN if m == "video" else IMAGE_TOKEN, prod(GRIDS[m]) // 4) for m in media]
            for media in prompts
        ]
    )
    ids = inputs["input_ids"]
    inputs["mm_token_type_ids"] = (ids == IMAGE_TOKEN).int() + 2 * (ids == VIDEO_TOKEN).int()
    for kind, pixels, grids in (
        ("image", "pixel_values", "image_grid_thw"),
        ("video", "pixel_values_videos", "video_grid_thw"),
    ):
        media = [m for m in flat(prompts) if (m == "video") == (kind == "video")]
        if media:
            inputs[grids] = torch.tensor([GRIDS[m] for m in media])
            inputs[pixels] = torch.cat([random(m, prod(GRIDS[m]), 3 * 2 * 4 * 4) for m in media])
    if (ids == VIDEO_TOKEN).any() and not model.config.model_type.startswith("qwen2"):
        inputs = per_frame(inputs)
    return inputs


def per_frame(inputs: dict) -> dict:
    """Qwen3 and later separate the frames of a video by the text of their times."""
    frames, height, width = GRIDS["video"]
    (row,) = inputs["input_ids"].tolist()
    start = row.index(VIDEO_TOKEN)
    frame = [VIDEO_TOKEN] * (height * width // 4)
    ids = row[:start]
    for number in range(frames):
        ids += [20 + number, *frame]
    ids = torch.tensor([ids + row[start + frames * len(frame) :]])
    return inputs | {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": 2 * (ids == VIDEO_TOKEN).int(),
    }


def qwen_items(model: nn.Module, prompts: Prompts) -> list[Item]:
    items, first = [], 0
    for medium in flat(prompts):
        frames, height, width = GRIDS[medium]
        rows = torch.arange(frames * height * width) + first
        segments = partial(qwen_segments, model, rows, GRIDS[medium])
        items.append(Item([rows], segments, frames=frames))
        first += len(rows)
    return items


def qwen_segments(
    model: nn.Module, rows: torch.Tensor, grid: tuple[int, int, int], block: int
) -> list[torch.Tensor]:
    """Frames; in Qwen2.5-VL, windows in all blocks but some."""
    frames, height, width = grid
    config = getattr(model.config, "vision_config", model.config)
    if block in getattr(config, "fullatt_block_indexes", range(4)):
        return list(rows.split(height * width))
    side = config.window_size // config.patch_size
    lengths = [
        min(side, height - top) * min(side, width - left)
        for _ in range(frames)
        for top in range(0, height, side)
        for left in range(0, width, side)
    ]
    return list(rows.split(lengths))


def qwen(name: str, vision: dict, text: dict) -> Family:
    def config() -> transformers.PreTrainedConfig:
        return getattr(transformers, f"{name}Config")(
            vision_config={"patch_size": 4, "num_heads": 4, "depth": 4} | vision,
            text_config=deepcopy(TEXT | text),  # which it changes
            **QWEN_TOKENS,
        )

    return Family(f"{name}ForConditionalGeneration", config, qwen_inputs, qwen_items, True)


ROPE = {"rope_type": "default", "rope_theta": 10000.0}
MROPE = {"rope_parameters": ROPE | {"mrope_section": [1, 1, 2]}}
VISION_WIDTH = {"hidden_size": 32, "intermediate_size": 32, "out_hidden_size": 32}
VISION_POSITIONS = VISION_WIDTH | {"num_position_embeddings": 16}
DEEPSTACK = VISION_POSITIONS | {"deepstack_visual_indexes": [1, 2]}
EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}
LINEAR_ATTENTION = MROPE | {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention"],
}
HYPER_CONNECTIONS = {
    "layer_types": ["linear_attention", "full_attention"],
    "hc_count": 2,
    "hc_lowrank": 8,
    "indexer_n_heads": 2,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 8,
    "indexer_budget": 64,
    "indexer_compress_ratio": 4,
}

# Batches of images or tiles. Every image is 32 x 32 pixels: 8 x 8 patches.

SIDE = 32


def images(media: list[str]) -> torch.Tensor:
    return torch.stack([random(m, 3, SIDE, SIDE) for m in media])


def tile_items(tiles: list[int], rows_per_tile: int, protected: int) -> list[Item]:
    """Items of consecutive tiles; tiles attend only themselves."""
    groups = list(torch.arange(sum(tiles) * rows_per_tile).split(rows_per_tile))
    items = []
    for number in tiles:
        mine, groups = groups[:number], groups[number:]
        items.append(Item(mine, lambda block, mine=mine: mine, protected))
    return items


@dataclass(frozen=True)
class Square:
    """LLaVA 1.5, Gemma 3, PaliGemma: one image is one tile."""

    tokens_per_image: int = 64
    protected: int = 0

    def inputs(self, model: nn.Module, prompts: Prompts) -> dict:
        inputs = tokens([[(IMAGE_TOKEN, self.tokens_per_image) for _ in m] for m in prompts])
        if any(prompts):
            inputs["pixel_values"] = images(flat(prompts))
        if model.config.model_type == "gemma3":
            inputs["token_type_ids"] = (inputs["input_ids"] == IMAGE_TOKEN).int()
        if model.config.model_type == "paligemma":  # 0 in the prompt, 1 behind it
            inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])
        return inputs

    def items(self, model: nn.Module, prompts: Prompts) -> list[Item]:
        return tile_items([1] * sum(map(len, prompts)), 64 + self.protected, self.protected)


@dataclass(frozen=True)
class Tiled:
    """InternVL, LLaVA-NeXT, LLaVA-OneVision: an image is one or more tiles."""

    protected: int
    tiles: dict = field(default_factory=dict)

    def items(self, model: nn.Module, prompts: Prompts) -> list[Item]:
        tiles = [self.tiles[m] for m in flat(prompts)]
        return tile_items(tiles, 64 + self.protected, self.protected)


class InternVL(Tiled):
    def inputs(self, model: nn.Module, prompts: Prompts) -> dict:
        inputs = tokens([[(IMAGE_TOKEN, 16 * self.tiles[m]) for m in media] for media in prompts])
        if any(prompts):
            tiles = [random(m, self.tiles[m], 3, SIDE, SIDE) for m in flat(prompts)]
            inputs["pixel_values"] = torch.cat(tiles)
        return inputs


class Llava(Tiled):
    """The processor's count of tokens is the model's own here: what it makes of the images."""

    sizes: ClassVar = {"small": (30, 30), "large": (60, 32)}

    def inputs(self, model: nn.Module, prompts: Prompts) -> dict:
        media = flat(prompts)
        extra: dict = {}
        lengths: list[int] = []
        if "video" in media:
            extra["pixel_values_videos"] = random("video", 1, 3, 3, SIDE, SIDE)
            lengths = [3 * 16 + 1]
        elif media:
            extra["image_sizes"] = torch.tensor([self.sizes[m] for m in media])
            tiles = [random(m, self.tiles[m], 3, SIDE, SIDE) for m in media]
            extra["pixel_values"] = nn.utils.rnn.pad_sequence(tiles, batch_first=True)
            with torch.no_grad():
                features = model.get_image_features(**extra).pooler_output
            lengths = [len(f) for f in features]
        runs = iter(lengths)
        token = {"video": VIDEO_TOKEN}
        return (
            tokens([[(token.get(m, IMAGE_TOKEN), next(runs)) for m in p] for p in prompts]) | extra
        )


class Padded:
    """Idefics3, SmolVLM: images of 8 x 8 patches at most, padded to that; slots for images."""

    sizes: ClassVar = {"small": (20, 16), "large": (32, 32)}

    def inputs(self, model: nn.Module, prompts: Prompts) -> dict:
        inputs = tokens([[(IMAGE_TOKEN, 16) for _ in media] for media in prompts])
        slots = max(map(len, prompts))
        if not slots:
            return inputs
        values = torch.zeros(len(prompts), slots, 3, SIDE, SIDE)
        mask = torch.zeros(len(prompts), slots, SIDE, SIDE, dtype=torch.bool)
        for i, media in enumerate(prompts):
            for j, medium in enumerate(media):
                height, width = self.sizes[medium]
                values[i, j, :, :height, :width] = random(medium, 3, height, width)
                mask[i, j, :height, :width] = True
        return inputs | {"pixel_values": values, "pixel_attention_mask": mask}

    def items(self, model: nn.Module, prompts: Prompts) -> list[Item]:
        items = []
        grid = torch.arange(64).view(8, 8)
        for i, medium in enumerate(flat(prompts)):
            height, width = self.sizes[medium]
            rows = [grid[: height // 4, : width // 4].flatten() + 64 * i]
            items.append(Item(rows, lambda block, rows=rows: rows))
        return items


@dataclass(frozen=True)
class Bare:
    """Bare encoders of square images."""

    protected: int = 0

    def inputs(self, model: nn.Module, prompts: Prompts) -> dict:
        return {"pixel_values": images(flat(prompts))}

    def items(self, model: nn.Module, prompts: Prompts) -> list[Item]:
        return tile_items([1] * sum(map(len, prompts)), 64 + self.protected, self.protected)


class NaFlex:
    """SigLIP 2: patches of different grids, padded to 48."""

    grids: ClassVar = {"small": (4, 5), "large": (6, 8)}

    def inputs(self, model: nn.Module, prompts: Prompts) -> dict:
        shapes = torch.tensor([self.grids[m] for m in flat(prompts)])
        return {
            "pixel_values": torch.stack([random(m, 48, 3 * 4 * 4) for m in flat(prompts)]),
            "pixel_attention_mask": (torch.arange(48) < shapes.prod(1, keepdim=True)).int(),
            "spatial_shapes": shapes,
        }

    def items(self, model: nn.Module, prompts: Prompts) -> list[Item]:
        items = []
        for i, (height, width) in enumerate(self.grids[m] for m in flat(prompts)):
            rows = [torch.arange(height * width) + 48 * i]
            items.append(Item(rows, lambda block, rows=rows: rows))
        return items


def vlm(name: str, shape: Square | Tiled | Padded, vision: dict, text: dict, **options) -> Family:
    def config() -> transformers.PreTrainedConfig:
        return getattr(transformers, f"{name}Config")(
            vision_config=VISION | {"image_size": SIDE} | vision,
            text_config=TEXT | text,
            **{"image_token_id": IMAGE_TOKEN} | options,
        )

    has_video = "video" in getattr(shape, "tiles", {})
    return Family(f"{name}ForConditionalGeneration", config, shape.inputs, shape.items, has_video)


def bare(name: str, shape: Bare | NaFlex, config_name: str = "", **options) -> Family:
    def config() -> transformers.PreTrainedConfig:
        cls = getattr(transformers, config_name or name.replace("Model", "Config"))
        return cls(**VISION | {"image_size": SIDE} | options)

    return Family(name, config, shape.inputs, shape.items)


CLIP = {"model_type": "clip_vision_model"}
SIGLIP = {"model_type": "siglip_vision_model", "vision_use_head": False}
LLAMA, QWEN2, GEMMA = ({"model_type": name} for name in ("llama", "qwen2", "gemma"))
PINPOINTS = {"image_grid_pinpoints": [[32, 32], [32, 64], [64, 32]]}
TILES = {"small": 2, "large": 3}

FAMILIES = {
    "qwen2_vl": qwen("Qwen2VL", {"embed_dim": 32, "hidden_size": 32}, MROPE),
    "qwen2_5_vl": qwen(
        "Qwen2_5_VL", VISION_WIDTH | {"window_size": 16, "fullatt_block_indexes": [1, 3]}, MROPE
    ),
    "qwen3_vl": qwen("Qwen3VL", DEEPSTACK, MROPE),
    "qwen3_vl_moe": qwen("Qwen3VLMoe", DEEPSTACK, MROPE | EXPERTS),
    "qwen3_5": qwen("Qwen3_5", VISION_POSITIONS, LINEAR_ATTENTION),
    "qwen3_5_moe": qwen("Qwen3_5Moe", VISION_POSITIONS, LINEAR_ATTENTION | EXPERTS),
    "qwen4_exp": qwen("Qwen4Exp", VISION_POSITIONS, LINEAR_ATTENTION | EXPERTS | HYPER_CONNECTIONS),
    "internvl": vlm(
        "InternVL",
        InternVL(1, {"small": 1, "large": 3}),
        {"image_size": [SIDE, SIDE], "patch_size": [4, 4], "use_qk_norm": True},
        QWEN2,
    ),
    "llava-clip": vlm("Llava", Square(protected=1), CLIP, LLAMA),
    "llava-siglip": vlm(
        "Llava",
        Square(),
        SIGLIP,
        LLAMA,
        vision_feature_layer=[-3, -1],
        vision_feature_select_strategy="full",
    ),
    "llava_next": vlm("LlavaNext", Llava(1, TILES), CLIP, LLAMA, **PINPOINTS),
    "llava_onevision": vlm(
        "LlavaOnevision",
        Llava(0, TILES | {"video": 3}),
        SIGLIP,
        QWEN2,
        video_token_id=VIDEO_TOKEN,
        **PINPOINTS,
    ),
    "gemma3": vlm("Gemma3", Square(16), SIGLIP, {}, mm_tokens_per_image=16),
    "paligemma": vlm("PaliGemma", Square(), SIGLIP, GEMMA, projection_dim=32),
    "idefics3": vlm("Idefics3", Padded(), {}, LLAMA, scale_factor=2),
    "smolvlm": vlm("SmolVLM", Padded(), {}, LLAMA, scale_factor=2),
    "internvl_vision": bare(
        "InternVLVisionModel", Bare(1), image_size=[SIDE, SIDE], patch_size=[4, 4]
    ),
    "clip_vision_model": bare("CLIPVisionModel", Bare(1)),
    "siglip_vision_model": bare("SiglipVisionModel", Bare()),
    "siglip2_vision_model": bare("Siglip2VisionModel", NaFlex(), num_patches=16),
    "dinov2": bare("Dinov2Model", Bare(1)),
    "dinov3_vit": bare("DINOv3ViTModel", Bare(3), num_register_tokens=2),
    "dinov2_with_registers": bare("Dinov2WithRegistersModel", Bare(3), num_register_tokens=2),
}
