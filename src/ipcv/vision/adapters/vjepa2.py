"""The adapter for V-JEPA 2: a batch of videos, with rotary positions inside the attention."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ipcv.core.arguments import Arguments
from ipcv.vision.adapters.batched import BatchedEncoder
from ipcv.vision.adapters.noise import Noise, random_pixels
from ipcv.vision.adapters.packed import grid_positions
from ipcv.vision.adapters.rectangles import kept_positions
from ipcv.vision.layout import Layout
from ipcv.vision.selection import Selection


class Vjepa2Encoder(BatchedEncoder):
    """All patches of a video attend each other; `position_mask` tells a block which it has."""

    blocks_path = "encoder.layer"
    norm_name = "norm1"
    attention_name = "attention"
    output_name = "proj"
    obstacle = "its attention computes the places of all patches by itself"

    def open(self, arguments: Arguments, tiles: Sequence[int]) -> tuple[int, int, int]:  # type: ignore[override]
        """Frames, rows and columns of patches."""
        config: Any = self.encoder.config
        _, frames, _, height, width = arguments["pixel_values_videos"].shape
        size = config.patch_size
        return max(1, frames // config.tubelet_size), height // size, width // size

    def layout(self, context: tuple[int, int, int], hidden_states: Tensor) -> Layout:  # type: ignore[override]
        videos, length, _ = hidden_states.shape
        positions = partial(grid_positions, [context] * videos, 1, hidden_states.device)
        lengths = (length,) * videos
        return Layout(lengths, lengths, positions, rectangular=True, frames=(context[0],) * videos)

    def prune_arguments(self, arguments: Arguments, selection: Selection) -> Arguments:
        return arguments | {"position_mask": _kept_places(selection)}

    def project(
        self, attention: Any, queries: Tensor, keys: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return attention.query(queries), attention.key(keys), attention.value(keys)

    def project_key(self, attention: Any, keys: Tensor) -> Tensor:
        key: Tensor = attention.key(keys)
        return key

    def by_heads(self, attention: Any, states: Tensor) -> Tensor:
        heads: Tensor = states.unflatten(-1, (attention.num_attention_heads, -1))
        return heads

    def embed_positions(
        self, attention: Any, states: Tensor, arguments: Arguments, selection: Selection | None
    ) -> Tensor:
        if selection is None:
            places = torch.arange(states.shape[1], device=states.device)[None]
        else:
            places = _kept_places(selection)
        return _rotated(attention, states, places)

    def heads(
        self, attention: Any, normed: Tensor, arguments: Arguments, positions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Places go on from video to video here: what counts is how far apart rows of one are."""
        query, key, value, content = super().heads(attention, normed, arguments, positions)
        query, key = (_rotated(attention, x[None], positions[None])[0] for x in (query, key))
        return query, key, value, content

    def noise(self, side: int, images: int, frames: int) -> Noise:
        config: Any = self.encoder.config
        number = frames or config.tubelet_size
        size, videos = config.crop_size, 1 if frames else images
        pixels = random_pixels(self.encoder, videos, number, 3, size, size)
        patches = max(1, number // config.tubelet_size) * (size // config.patch_size) ** 2
        return Noise({"pixel_values_videos": pixels}, patches)


def _kept_places(selection: Selection) -> Tensor:
    """`(B, rows)`: the places in their videos of the rows carried."""
    lengths, groups = selection.layout.item_lengths, selection.layout.group_lengths
    places = kept_positions(selection)  # within a frame, where frames are pruned one by one
    starts = torch.arange(len(groups), device=places.device) * groups[0] % lengths[0]
    return (places + starts[:, None]).view(len(lengths), -1)


def _rotated(attention: Any, states: Tensor, places: Tensor) -> Tensor:
    """`(B, rows, heads, D)` by the model's own rotation."""
    states = states.transpose(1, 2)
    ids = attention.get_position_ids(states, masks=places)
    rotated: Tensor = attention.apply_rotary_embeddings(states, ids)
    return rotated.transpose(1, 2)
