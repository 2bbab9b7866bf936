"""Square images of noise as vision encoders take them, to measure what they cost."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ipcv.core.arguments import Arguments

MOST_TILES = 12
"""Tiles that an image is cut into at most, as InternVL's processor does; LLaVA's has 9."""


class Noise(NamedTuple):
    """Images, or a video.

    Attributes:
        arguments: of the encoder.
        patches: of each image.
    """

    arguments: Arguments
    patches: int


def packed_noise(encoder: nn.Module, side: int, images: int, frames: int = 0) -> Noise:
    """For packed rows: `side` pixels, rounded to what the encoder merges."""
    config: Any = encoder.config
    unit = config.patch_size * config.spatial_merge_size
    rows = max(1, round(side / unit)) * config.spatial_merge_size
    if frames:
        grids = torch.tensor([[max(1, frames // config.temporal_patch_size), rows, rows]])
    else:
        grids = torch.tensor([[1, rows, rows]] * images)
    width = config.in_channels * config.temporal_patch_size * config.patch_size**2
    pixels = _noise(encoder, int(grids.prod(1).sum()), width)
    arguments = {"hidden_states": pixels, "grid_thw": grids.to(pixels.device)}
    return Noise(arguments, int(grids[0].prod()))


def tiled_noise(encoder: nn.Module, side: int, images: int, frames: int = 0) -> Noise:
    """For one image or tile per element of the batch, all of the size that the encoder has."""
    config: Any = encoder.config
    width = _side(config.image_size)
    across = max(1, round(side / width))
    tiles = min(MOST_TILES, across**2)
    tiles += tiles > 1  # a thumbnail of the whole
    pixels = _noise(encoder, frames or images * tiles, 3, width, width)
    return Noise({"pixel_values": pixels}, tiles * (width // _side(config.patch_size)) ** 2)


def _noise(encoder: nn.Module, *shape: int) -> Tensor:
    """In the encoder's dtype, on its device."""
    weight = next(encoder.parameters())
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator).to(weight.device, weight.dtype)


def _side(size: Any) -> int:
    return int(size if isinstance(size, int) else size[0])
