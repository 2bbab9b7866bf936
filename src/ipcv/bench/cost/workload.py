"""Noise of a given size, as a model or its vision encoder takes it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ipcv.baselines import Downsample
from ipcv.core.arguments import Arguments
from ipcv.families import adapter_for
from ipcv.vision.adapters.packed import PackedEncoder

TEXT_TOKENS = 32
"""Tokens of text in a prompt, besides its images."""

MOST_TILES = 12
"""Tiles that an image is cut into at most, as InternVL's processor does; LLaVA's has 9."""


@dataclass(frozen=True)
class Workload:
    """One prompt: square images, or a video of square frames.

    Attributes:
        side: pixels per side, rounded to what the encoder's patches allow.
        images: how many.
        frames: of a video instead; 0 for images.
    """

    side: int = 448
    images: int = 1
    frames: int = 0

    def __post_init__(self) -> None:
        if self.side < 28 or self.images < 1 or self.frames < 0:
            raise ValueError(
                f"a workload needs images of at least 28 pixels a side, got {self.images} of "
                f"{self.side} pixels and {self.frames} frames"
            )

    def __str__(self) -> str:
        if self.frames:
            return f"{self.frames} frames of {self.side} px"
        return f"{self.images} x {self.side} px"

    def shrunk(self, downsample: Downsample | None) -> Workload:
        """The same after downsampling."""
        if downsample is None:
            return self
        return replace(self, side=max(28, round(self.side * downsample.factor)))

    def for_encoder(self, model: nn.Module) -> Arguments:
        """Random arguments of the vision encoder of `model`, in its dtype and on its device."""
        adapter = adapter_for(model)
        config: Any = adapter.encoder.config
        weight = next(adapter.encoder.parameters())
        if isinstance(adapter, PackedEncoder):
            grids = self._grids(config)
            width = config.in_channels * config.temporal_patch_size * config.patch_size**2
            pixels = _noise(weight, int(grids.prod(1).sum()), width)
            return {"hidden_states": pixels, "grid_thw": grids.to(weight.device)}
        tile = _side(config.image_size)
        return {"pixel_values": _noise(weight, self._tiles(tile), 3, tile, tile)}

    def for_model(self, model: nn.Module) -> Arguments:
        """A prompt with these images and `TEXT_TOKENS` tokens of text.

        Raises:
            ValueError: a video, or a family whose prompts are not known.
        """
        if self.frames:
            raise ValueError("a video is measured with the vision encoder alone")
        config: Any = model.config
        arguments = self.for_encoder(model)
        pixels = arguments.pop("hidden_states", None)
        if pixels is not None:
            grids = arguments.pop("grid_thw")
            images: Arguments = {"pixel_values": pixels, "image_grid_thw": grids}
            lengths = (grids.prod(1) // config.vision_config.spatial_merge_size**2).tolist()
        elif config.model_type == "internvl":
            images = arguments
            vision, ratio = config.vision_config, config.downsample_ratio
            per_tile = (_side(vision.image_size) // _side(vision.patch_size) * ratio) ** 2
            tiles = len(arguments["pixel_values"]) // self.images
            lengths = [tiles * int(per_tile)] * self.images
        elif config.model_type == "llava_onevision":
            images = self._llava(arguments["pixel_values"])
            with torch.inference_mode():
                features = model.get_image_features(**images).pooler_output  # type: ignore[operator]
            lengths = [len(feature) for feature in features]
        else:
            raise ValueError(
                f"no prompt of noise is known for a {config.model_type}: measure its encoder alone"
            )
        return _prompt(lengths, config.image_token_id, pixels is not None, images)

    def _grids(self, config: Any) -> Tensor:
        unit = config.patch_size * config.spatial_merge_size
        side = max(1, round(self.side / unit)) * config.spatial_merge_size
        if self.frames:
            return torch.tensor([[max(1, self.frames // config.temporal_patch_size), side, side]])
        return torch.tensor([[1, side, side]] * self.images)

    def _tiles(self, side: int) -> int:
        if self.frames:
            return self.frames
        across = max(1, round(self.side / side))
        tiles = min(MOST_TILES, across**2)
        return self.images * (tiles + (tiles > 1))  # and a thumbnail of the whole

    def _llava(self, tiles: Tensor) -> Arguments:
        """LLaVA-OneVision: images of one size, several of which are not cut into tiles."""
        if self.images > 1:
            tiles = tiles[: self.images, None]
            counts = torch.tensor([self.images])
        else:
            tiles, counts = tiles[None], torch.tensor([1])
        sizes = torch.tensor([[self.side, self.side]] * self.images)
        return {"pixel_values": tiles, "image_sizes": sizes, "batch_num_images": counts}


def _prompt(lengths: list[int], image_token: int, has_types: bool, images: Arguments) -> Arguments:
    ids: list[int] = []
    for length in lengths:
        ids += [1, *[image_token] * length]
    device = next(iter(images.values())).device
    input_ids = torch.tensor([ids + [1] * TEXT_TOKENS], device=device)
    prompt = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
    if has_types:
        prompt["mm_token_type_ids"] = (input_ids == image_token).int()
    return prompt | images


def _noise(like: Tensor, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator).to(like.device, like.dtype)


def _side(size: Any) -> int:
    return int(size if isinstance(size, int) else size[0])
