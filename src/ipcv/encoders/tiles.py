"""Which tiles make up an image, read from what the model around a tiled encoder is called with.

Each reader gives, for every encoder call that one call of the model makes, the tiles per image. An
answer that does not add up to what the encoder then gets is not used: one tile is one item then.
"""

from __future__ import annotations

from sys import modules
from typing import Any

from torch.nn import functional as F

from ipcv.encoders.base import Arguments


def by_image_tokens(model: Any, arguments: Arguments) -> list[list[int]]:
    """InternVL: an unbroken run of image tokens is one image, or one frame of a video."""
    ids, pixel_values = arguments.get("input_ids"), arguments.get("pixel_values")
    if ids is None or pixel_values is None:
        return []
    is_image = F.pad((ids == model.config.image_token_id).int(), (1, 1))
    edges = is_image.diff().flatten()  # 1 where a run starts, -1 behind its end
    lengths = ((edges == -1).nonzero() - (edges == 1).nonzero()).flatten().tolist()
    num_tiles = len(pixel_values)
    return [[length * num_tiles // sum(lengths) for length in lengths]]


def by_image_sizes(model: Any, arguments: Arguments) -> list[list[int]]:
    """LLaVA-NeXT and LLaVA-OneVision: from the size of each image; a video has its frames."""
    calls = []
    if (sizes := arguments.get("image_sizes")) is not None:
        num_tiles = modules[type(model).__module__].image_size_to_num_patches
        grid, side = model.config.image_grid_pinpoints, model.config.vision_config.image_size
        images_per_prompt = arguments.get("batch_num_images")
        if images_per_prompt is None:
            is_tiled = [True] * len(sizes)
        else:
            is_tiled = [n == 1 for n in images_per_prompt for _ in range(n)]
        calls.append(
            [
                num_tiles(size, grid, side) if tiled else 1
                for size, tiled in zip(sizes, is_tiled, strict=True)
            ]
        )
    if (videos := arguments.get("pixel_values_videos")) is not None:
        calls.append([videos.shape[1]] * len(videos))
    return calls
