"""The adapter for Pixtral, whose packed images are kept apart by a mask."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ipcv.core.arguments import Arguments
from ipcv.vision.adapters.base import EncoderAdapter
from ipcv.vision.adapters.noise import Noise, random_pixels
from ipcv.vision.adapters.packed import packed_layout
from ipcv.vision.adapters.separate import LeadingEncoder
from ipcv.vision.layout import Layout
from ipcv.vision.selection import Selection


class PixtralShape(EncoderAdapter):
    """What all adapters for Pixtral share: images one behind the other, patches row by row."""

    blocks_path = "transformer.layers"
    norm_name = "attention_norm"
    attention_name = "attention"

    def layout_of(self, sizes: Iterable[Sequence[int]], device: torch.device) -> Layout:
        """The layout of images of these heights and widths in pixels."""
        config: Any = self.encoder.config
        patch = config.patch_size
        grids = [(1, int(height) // patch, int(width) // patch) for height, width in sizes]
        return packed_layout(grids, 1, device)


class PixtralEncoder(PixtralShape, LeadingEncoder):
    """Pixtral of `transformers`."""

    output_name = "o_proj"

    def open(self, arguments: Arguments, tiles: Sequence[int]) -> Layout:
        pixels, sizes = arguments["pixel_values"], arguments.get("image_sizes")
        if sizes is None:
            sizes = [pixels.shape[-2:]] * len(pixels)
        return self.layout_of(sizes, pixels.device)

    def prune_arguments(self, arguments: Arguments, selection: Selection) -> Arguments:
        """The mask stays: what `attend` gives is not masked by it."""
        kept = self._kept_embeddings(arguments["position_embeddings"], selection)
        return arguments | {"position_embeddings": kept}

    def attend(
        self,
        attention: Any,
        queries: Tensor,
        keys: Tensor | None,
        arguments: Arguments,
        selection: Selection,
    ) -> Any:
        key = arguments["position_embeddings"]
        boundaries = selection.once("cu_seqlens", key, compute=lambda: _boundaries(arguments))
        segments = arguments | {"cu_seqlens": boundaries}
        return super().attend(attention, queries, keys, segments, selection)

    def segment_lengths(self, hidden_states: Tensor, arguments: Arguments) -> list[int]:
        lengths: list[int] = _boundaries(arguments).diff().tolist()
        return lengths

    def noise(self, side: int, images: int, frames: int) -> Noise:
        config: Any = self.encoder.config
        rows = max(1, round(side / config.patch_size))
        size = rows * config.patch_size
        pixels = random_pixels(self.encoder, frames or images, 3, size, size)
        return Noise({"pixel_values": pixels}, rows**2).as_video(frames or 1)


def _boundaries(arguments: Arguments) -> Tensor:
    """`cu_seqlens` of the images. Waits for the device where a mask alone tells them."""
    if (cu_seqlens := arguments.get("cu_seq_lens_q")) is not None:
        return cu_seqlens  # type: ignore[no-any-return]
    is_visible = arguments["attention_mask"][0, 0] == 0
    starts = is_visible.int().argmax(dim=1).unique_consecutive()
    return F.pad(starts, (0, 1), value=len(is_visible)).int()
