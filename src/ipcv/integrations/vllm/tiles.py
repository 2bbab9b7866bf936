"""Readers of the tiles per image, from vLLM's models and the arguments of their methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers.models.llava_onevision.modeling_llava_onevision import image_size_to_num_patches

from ipcv.core.arguments import Arguments

TilesReaders = Mapping[str, Callable[[Any, Arguments], Sequence[int]]]
"""By method."""


def _internvl(model: Any, arguments: Arguments) -> Sequence[int]:
    """A frame of a video is an item."""
    given = arguments["image_input"]
    if given["type"] == "pixel_values":
        return [int(count) for count in given["num_patches"]]
    return []


def _llava_images(model: Any, arguments: Arguments) -> Sequence[int]:
    """What fills an image up to the tiles of others in its prompt is apart, tile by tile."""
    config, tiles = model.config, list[int]()
    grid, side = config.image_grid_pinpoints, config.vision_config.image_size
    given = arguments["inputs"]
    for pixels, size in zip(given["pixel_values"], given["image_sizes"], strict=True):
        own = image_size_to_num_patches(size, grid, side)
        tiles += [own, *[1] * (len(pixels) - own)]
    return tiles


def _llava_videos(model: Any, arguments: Arguments) -> Sequence[int]:
    """A video has its frames."""
    return [len(frames) for frames in arguments["inputs"]["pixel_values_videos"]]


INTERNVL_METHODS = {"_process_vision_input": _internvl}
LLAVA_ONEVISION_METHODS = {
    "_process_image_pixels": _llava_images,
    "_process_video_pixels": _llava_videos,
}
