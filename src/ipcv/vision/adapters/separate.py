"""Adapters for packed rows whose queries, keys and values are projected apart."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from ipcv.core.arguments import Arguments
from ipcv.vision.adapters.noise import Noise
from ipcv.vision.adapters.packed import (
    PackedEncoder,
    WindowedEncoder,
    packed_layout,
    window_rows,
    windowed,
)
from ipcv.vision.layout import Layout
from ipcv.vision.selection import Selection


class SeparateEncoder(PackedEncoder):
    """What is shaped like SigLIP, with packed rows."""

    blocks_path = "encoder.layers"
    norm_name = "layer_norm1"
    attention_name = "self_attn"
    pixels_name = "pixel_values"
    projections = ("q_proj", "k_proj", "v_proj")
    output_name = "out_proj"
    returns_weights = True
    """Whether attention returns a pair."""
    can_repeat = False

    def _project(
        self,
        attention: Any,
        queries: Tensor,
        keys: Tensor | None,
        selection: Selection | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = (attention.get_submodule(name) for name in self.projections)
        rows = queries if keys is None else keys
        query, key, value = (
            x.view(len(x), -1, attention.head_dim) for x in (query(queries), key(rows), value(rows))
        )
        return query, key, value

    def keys(self, attention: Any, normed: Tensor) -> Tensor:
        key: Tensor = attention.get_submodule(self.projections[1])(normed)
        return key.view(len(key), -1, attention.head_dim)

    def project_output(self, attention: Any, attended: Tensor, hidden_states: Tensor) -> Any:
        projected = attention.get_submodule(self.output_name)(attended)
        return (projected, None) if self.returns_weights else projected


class CosmosEncoder(SeparateEncoder):
    """Cosmos 3 Edge: learned positions alone."""

    returns_weights = False


class VideoLlama3Encoder(SeparateEncoder):
    """VideoLLaMA 3: each image or video says how many patches are merged."""

    def open(self, arguments: Arguments, tiles: Sequence[int]) -> Layout:
        grids, merges = arguments["grid_thw"].tolist(), arguments["merge_sizes"].tolist()
        return packed_layout(grids, merges, arguments[self.pixels_name].device)

    def noise(self, side: int, images: int, frames: int) -> Noise:
        arguments, patches = super().noise(side, images, frames)
        merges = torch.full_like(arguments["grid_thw"][:, 0], 2)
        return Noise(arguments | {"merge_sizes": merges}, patches)


class PaddleOcrEncoder(SeparateEncoder):
    """PaddleOCR-VL: patches lie row by row, and come as squares in a batch of one."""

    merge = 1

    def noise(self, side: int, images: int, frames: int) -> Noise:
        return _with_squares(super().noise(side, images, frames), (1, -1, 3))


class KimiEncoder(SeparateEncoder):
    """Kimi K2.5: patches lie row by row, and all frames of a video attend each other."""

    blocks_path = "layers"
    norm_name = "norm1"
    attention_name = "attn"
    output_name = "proj"
    returns_weights = False
    merge = 1

    def noise(self, side: int, images: int, frames: int) -> Noise:
        return _with_squares(super().noise(side, images, frames), (-1, 3))


class MuseEncoder(KimiEncoder, WindowedEncoder):
    """Muse: as Kimi, but with windows of patches in most blocks."""

    def open(self, arguments: Arguments, tiles: Sequence[int]) -> Layout:
        layout = PackedEncoder.open(self, arguments, tiles)
        return windowed(layout, partial(window_rows, self.encoder, arguments["grid_thw"]))

    def noise(self, side: int, images: int, frames: int) -> Noise:
        return PackedEncoder.noise(self, side, images, frames)


class OmniEncoder(SeparateEncoder, WindowedEncoder):
    """Qwen2.5-Omni: as Qwen2.5-VL, with projections of their own."""

    blocks_path = "blocks"
    norm_name = "norm1"
    attention_name = "attn"
    pixels_name = "hidden_states"
    projections = ("q", "k", "v")
    output_name = "proj"
    returns_weights = False


class GroupedEncoder(WindowedEncoder):
    """EXAONE 4.5: as Qwen2.5-VL, with fewer heads of keys and values than of queries."""

    def _project(
        self,
        attention: Any,
        queries: Tensor,
        keys: Tensor | None,
        selection: Selection | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        sizes = [attention.q_dim, attention.kv_dim, attention.kv_dim]
        projected = attention.qkv(queries if keys is None else keys).split(sizes, dim=-1)
        query, key, value = (x.view(len(x), -1, attention.head_dim) for x in projected)
        if keys is not None:
            assert selection is not None
            query = query[selection.kept]
        return query, key, value

    def keys(self, attention: Any, normed: Tensor) -> Tensor:
        return self._project(attention, normed, None)[1]

    def heads(
        self, attention: Any, normed: Tensor, arguments: Arguments, positions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        query, *states = super().heads(attention, normed, arguments, positions)
        groups = attention.num_key_value_groups
        key, value, content = (x.repeat_interleave(groups, dim=1) for x in states)
        return query, key, value, content


class LeadingEncoder(SeparateEncoder):
    """What carries its rows in a batch of one, `(1, N, C)`, at least between the blocks."""

    blocks_path = "layers"

    def rows(self, hidden_states: Tensor) -> Tensor:
        return hidden_states.flatten(0, -2)

    def like(self, rows: Tensor, hidden_states: Tensor) -> Tensor:
        return rows.view(*hidden_states.shape[:-2], *rows.shape)

    def attend(
        self,
        attention: Any,
        queries: Tensor,
        keys: Tensor | None,
        arguments: Arguments,
        selection: Selection,
    ) -> Any:
        rows = self.rows(queries), None if keys is None else self.rows(keys)
        attended, weights = super().attend(attention, *rows, arguments, selection)
        return self.like(attended, queries), weights

    def project_output(self, attention: Any, attended: Tensor, hidden_states: Tensor) -> Any:
        projected, weights = super().project_output(attention, attended, hidden_states)
        return self.like(projected, hidden_states), weights


class HunYuanEncoder(LeadingEncoder):
    """HunYuan-VL: patches lie row by row, with learned positions alone."""

    output_name = "o_proj"
    merge = 1
    takes_videos = False


class MiniMaxEncoder(LeadingEncoder):
    """MiniMax M3: all frames of a video attend each other; some channels are not rotated."""

    def rotate(self, states: Tensor, embeddings: tuple[Tensor, Tensor] | None) -> Tensor:
        assert embeddings is not None
        width = embeddings[0].shape[-1]
        rotated = super().rotate(states[..., :width], embeddings)
        return torch.cat([rotated, states[..., width:]], dim=-1)


def _with_squares(noise: Noise, shape: tuple[int, ...]) -> Noise:
    """Patches as squares of pixels, in a batch or not."""
    pixels = noise.arguments["pixel_values"]
    side = isqrt(pixels.shape[-1] // 3)
    return noise._replace(
        arguments=noise.arguments | {"pixel_values": pixels.view(*shape, side, side)}
    )
