"""Pictures of what was kept: the input images with their removed patches dimmed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ipcv.inputs.prompt import Media
from ipcv.vision.records import EncoderCall

DIMMED = 0.25
"""How much light a removed patch keeps."""

A_ROW = 4
"""Panels of a sheet side by side."""


def check_target(path: Path | None, compress: bool) -> None:
    """Raise `ValueError`, before any work, where no overlay can be written to `path`."""
    if path is None:
        return
    if not compress:
        raise ValueError("--save-overlay shows removed patches: it cannot go with --no-compress")
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: folder {path.parent} does not exist")
    if path.is_dir():
        raise ValueError(f"cannot write {path}: it is a folder")
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise ValueError(f"cannot write {path}: give it an image's extension, such as .png")


def check_inputs(inputs: Mapping[str, Any]) -> None:
    """Raise `ValueError` where the model does not tell the patch grid of its images."""
    if not grids_of(inputs):
        raise ValueError("an overlay needs a model of the Qwen-VL family: others crop or tile")


def draw_overlay(
    media: Sequence[Media], inputs: Mapping[str, Any], calls: Sequence[EncoderCall]
) -> Image.Image:
    """A sheet of all images, removed patches dimmed; of a video one frame per temporal patch.

    Args:
        media: what was asked about, in order.
        inputs: what the processor made of it; holds the patch grids.
        calls: the encoder calls on it, images before videos.

    Raises:
        ValueError: the model does not tell the patch grid of its images.
    """
    check_inputs(inputs)
    kept = [indices for call in calls for indices in call.kept_indices]
    masks = [
        mask
        for grid, indices in zip(grids_of(inputs), kept, strict=True)
        for mask in patch_mask(grid, indices)
    ]
    return sheet(
        [_dim(frame, mask) for frame, mask in zip(shown(media, inputs), masks, strict=True)]
    )


def grids_of(inputs: Mapping[str, Any]) -> list[list[int]]:
    """`t, h, w` in patches of each image and video, images first; none where it is not told."""
    return [
        [int(n) for n in grid]
        for name in ("image_grid_thw", "video_grid_thw")
        for grid in inputs.get(name, torch.empty(0, 3)).tolist()
    ]


def shown(media: Sequence[Media], inputs: Mapping[str, Any]) -> list[Image.Image]:
    """The frames that the grids are about, one per temporal patch."""
    return list(_frames(media, [t for t, _, _ in grids_of(inputs)]))


def sheet(panels: Sequence[Image.Image]) -> Image.Image:
    """Images side by side, `A_ROW` at most, on white."""
    rows = [panels[start : start + A_ROW] for start in range(0, len(panels), A_ROW)]
    width = max(sum(panel.width for panel in row) for row in rows)
    heights = [max(panel.height for panel in row) for row in rows]
    drawn, top = Image.new("RGB", (width, sum(heights)), "white"), 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for panel in row:
            drawn.paste(panel, (left, top))
            left += panel.width
        top += height
    return drawn


def patch_mask(grid: Sequence[int], kept: Tensor, merge_size: int = 2) -> Tensor:
    """Which patches of an image are kept, in raster order: bool `(t, h, w)`.

    Args:
        grid: `t, h, w` in patches, `h` and `w` multiples of `merge_size`.
        kept: `(K,)` patch indices in the order of the Qwen-VL processors, which go through an image
            by cells of `merge_size x merge_size`.
    """
    t, h, w = (int(n) for n in grid)
    mask = torch.zeros(t * h * w, dtype=torch.bool)
    mask[kept] = True
    cells = mask.view(t, h // merge_size, w // merge_size, merge_size, merge_size)
    return cells.transpose(2, 3).reshape(t, h, w)


def _frames(media: Sequence[Media], lengths: Sequence[int]) -> Iterator[Image.Image]:
    """The frames that the grids are about: images first, then videos, one per temporal patch."""
    if sum(len(item.frames) for item in media) == len(lengths):  # videos went in as images
        for item in media:
            yield from item.frames
        return
    for item in media:
        if not item.is_video:
            yield from item.frames
    videos = [item for item in media if item.is_video]
    for item, length in zip(videos, lengths[-len(videos) :], strict=True):
        step = len(item.frames) / length
        yield from (item.frames[int(i * step)] for i in range(length))


def _dim(image: Image.Image, mask: Tensor) -> Image.Image:
    """The image with the cells where `mask (h, w)` is False darkened."""
    light = Image.fromarray(mask.byte().mul(255).numpy(), mode="L")
    light = light.resize(image.size, Image.Resampling.NEAREST)
    dark = Image.eval(image, lambda value: int(value * DIMMED))
    return Image.composite(image, dark, light)
