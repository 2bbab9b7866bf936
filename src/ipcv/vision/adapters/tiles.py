"""Readers of the tiles per image, from what the models around a tiled encoder are called with.

An answer that does not add up to the tiles the encoder then gets is not used: each tile is an item
of its own then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from sys import modules
from typing import Any, NamedTuple

from torch.nn import functional as F

from ipcv.core.arguments import Arguments


class Tiles(NamedTuple):
    """Where to read the tiles per image.

    Attributes:
        methods: of a model around the encoder; each call makes at most one encoder call.
        read: tiles per image, from the model and the arguments of such a call.
    """

    methods: tuple[str, ...]
    read: Callable[[Any, Arguments], Sequence[int]]


def _by_image_tokens(model: Any, arguments: Arguments) -> list[int]:
    """An unbroken run of image tokens is one image, or one frame of a video."""
    ids = arguments.get("input_ids", arguments.get("inputs"))
    pixel_values = arguments.get("pixel_values")
    if ids is None or pixel_values is None:
        return []
    is_image = F.pad((ids == model.config.image_token_id).int(), (1, 1))
    edges = is_image.diff().flatten()  # 1 where a run starts, -1 behind its end
    lengths = ((edges == -1).nonzero() - (edges == 1).nonzero()).flatten().tolist()
    return [length * len(pixel_values) // sum(lengths) for length in lengths]


def _by_image_sizes(model: Any, arguments: Arguments) -> list[int]:
    """From the size of each image; a video has its frames."""
    if (videos := arguments.get("pixel_values_videos")) is not None:
        return [videos.shape[1]] * len(videos)
    sizes, images_per_prompt = arguments["image_sizes"], arguments.get("batch_num_images")
    num_tiles = modules[type(model).__module__].image_size_to_num_patches
    grid, side = model.config.image_grid_pinpoints, model.config.vision_config.image_size
    if images_per_prompt is None:
        is_tiled = [True] * len(sizes)
    else:
        is_tiled = [n == 1 for n in images_per_prompt for _ in range(n)]
    return [
        num_tiles(size, grid, side) if tiled else 1
        for size, tiled in zip(sizes, is_tiled, strict=True)
    ]


INTERNVL_TILES = Tiles(("generate", "forward"), _by_image_tokens)
LLAVA_TILES = Tiles(("get_image_features", "get_video_features"), _by_image_sizes)
