"""Square images of noise as models take them, from what their vision encoders take."""

from __future__ import annotations

import torch

from ipcv.core.arguments import Arguments


def packed_images(noise: Arguments, side: int, images: int) -> Arguments:
    """The Qwen family: the encoder's arguments by other names."""
    return {"pixel_values": noise["hidden_states"], "image_grid_thw": noise["grid_thw"]}


def tiled_images(noise: Arguments, side: int, images: int) -> Arguments:
    """InternVL: all tiles in one tensor."""
    return noise


def llava_images(noise: Arguments, side: int, images: int) -> Arguments:
    """LLaVA-OneVision: images of one size, several of which are not cut into tiles."""
    tiles = noise["pixel_values"]
    if images > 1:
        tiles, counts = tiles[:images, None], torch.tensor([images])
    else:
        tiles, counts = tiles[None], torch.tensor([1])
    sizes = torch.tensor([[side, side]] * images)
    return {"pixel_values": tiles, "image_sizes": sizes, "batch_num_images": counts}
