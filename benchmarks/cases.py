"""The cases and encoders whose speed is measured."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import ipcv
from ipcv.bench.cost.shapes import build, shape_config
from ipcv.families import find_encoder

MOST_ENCODERS = 4
"""Held at a time."""


class Case(NamedTuple):
    """So many square images (or tiles), or one video, of `side * side` patches per frame."""

    images: int
    side: int
    frames: int = 1

    @property
    def item(self) -> int:
        """Patches that compete."""
        return self.frames * self.side**2

    def shrunk(self, factor: float) -> Case:
        """The same with sides of `factor` times as many patches, an even number."""
        return self._replace(side=2 * max(1, round(self.side * factor / 2)))

    def inputs(self, encoder: Any) -> dict[str, Tensor]:
        """Noise of this size, as the encoder takes it."""
        options = {"device": encoder.device, "dtype": encoder.dtype}
        config = encoder.config
        if config.model_type.startswith("qwen"):
            grid = torch.tensor([[self.frames, self.side, self.side]] * self.images)
            width = config.in_channels * config.temporal_patch_size * config.patch_size**2
            pixels = torch.randn(self.images * self.item, width, **options)
            return {"hidden_states": pixels, "grid_thw": grid.to(encoder.device)}
        tiles = max(1, round(sqrt(self.side**2 / MOST_IN_TILE)))
        side = self.side // tiles
        number = self.images * self.frames * tiles**2
        return {"pixel_values": torch.randn(number, 3, 14 * side, 14 * side, **options)}


MOST_IN_TILE = 1024
"""Patches. InternVL gets tiles of about so many at most, each on its own, and frames likewise."""

CASES = {
    "256": Case(1, 16),
    "1,024": Case(1, 32),
    "4,096": Case(1, 64),
    "8 x 1,024": Case(8, 32),
    "16 frames x 576": Case(1, 24, 16),
    "16,384": Case(1, 128),
    "64 frames x 576": Case(1, 24, 64),
}
"""By name, the patches."""
OTHERS = {
    "64": Case(1, 8),
    "64 frames x 1,024": Case(1, 32, 64),
    "256 frames x 576": Case(1, 24, 256),
}
"""On request."""
ALL_CASES = CASES | OTHERS


def usual_depth(name: str, case: Case, device: torch.device) -> int:
    """Blocks: on a CPU few, else all."""
    if device.type == "cpu":
        return 8 if case.images * case.item < 5_000 else 4
    return full_depth(name)


def full_depth(name: str) -> int:
    """The blocks that the encoder of a shape has."""
    vision = shape_config(name).vision_config
    depth: int = getattr(vision, "depth", None) or vision.num_hidden_layers
    return depth


@lru_cache(maxsize=MOST_ENCODERS)
def make_encoder(
    name: str, depth: int, dtype: str, device: torch.device, width: int | None = None
) -> nn.Module:
    """An encoder with random weights.

    Args:
        name: one of `DIMENSIONS`.
        depth: its blocks.
        dtype, device: of its weights.
        width: channels of a Qwen2-VL instead of 1280, with heads of the same size.
    """
    config = shape_config(name, depth)
    vision: Any = config.vision_config
    if width:
        vision.num_heads = vision.num_heads * width // vision.embed_dim
        vision.embed_dim = width
    torch.manual_seed(0)
    return build(config, getattr(torch, dtype), device, vision_only=True)


def published_settings(encoder: nn.Module, depth: int, full: int) -> ipcv.IPCV:
    """The published settings with the same fractions of the depth as in the `full` encoder."""
    published = find_encoder(encoder)[0].settings
    return replace(
        published,
        prune_layer=max(1, round(published.prune_layer * depth / full)),
        stabilization_layers=max(1, round(published.stabilization_layers * depth / full)),
    )
