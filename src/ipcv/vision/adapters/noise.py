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
        patches: of each image, or of the video.
    """

    arguments: Arguments
    patches: int

    def as_video(self, frames: int) -> Noise:
        """Such images as the frames of a video."""
        return self._replace(patches=frames * self.patches)


def packed_noise(
    encoder: nn.Module, side: int, images: int, frames: int, pixels_name: str = "hidden_states"
) -> Noise:
    """For packed rows: images, or one video, of as many pixels as are merged without a rest."""
    config: Any = encoder.config
    merge, depth = getattr(config, "spatial_merge_size", 2), _temporal_size(config)
    rows = max(1, round(side / (config.patch_size * merge))) * merge
    if frames:
        grids = torch.tensor([[max(1, frames // depth), rows, rows]])
    else:
        grids = torch.tensor([[1, rows, rows]] * images)
    pixels = random_pixels(encoder, int(grids.prod(1).sum()), 3 * depth * config.patch_size**2)
    arguments = {pixels_name: pixels, "grid_thw": grids.to(pixels.device)}
    return Noise(arguments, int(grids[0].prod()))


def _temporal_size(config: Any) -> int:
    """Frames that make up a patch."""
    return int(getattr(config, "temporal_patch_size", getattr(config, "patch_temporal", 1)))


def tiled_noise(encoder: nn.Module, side: int, images: int, frames: int) -> Noise:
    """For images that are cut into tiles of the encoder's size, or one video of such `frames`."""
    config: Any = encoder.config
    width = _side(config.image_size)
    tiles = min(MOST_TILES, max(1, round(side / width)) ** 2)
    tiles += tiles > 1  # a thumbnail of the whole
    if frames:
        images, tiles = 1, frames
    pixels = random_pixels(encoder, images * tiles, 3, width, width)
    return Noise({"pixel_values": pixels}, tiles * (width // _side(config.patch_size)) ** 2)


def random_pixels(encoder: nn.Module, *shape: int) -> Tensor:
    """In the encoder's dtype, on its device."""
    weight = next(encoder.parameters())
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator).to(weight.device, weight.dtype)


def _side(size: Any) -> int:
    return int(size if isinstance(size, int) else size[0])
