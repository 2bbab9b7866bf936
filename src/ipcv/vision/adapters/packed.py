"""Adapters for encoders of packed rows `(N, C)` with `cu_seqlens`: the Qwen-VL family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ipcv.core import ops
from ipcv.core.arguments import Arguments
from ipcv.vision.adapters.base import TokenAdapter, is_plain_linear
from ipcv.vision.adapters.noise import Noise, packed_noise
from ipcv.vision.adapters.segments import Segments, attend_segments
from ipcv.vision.layout import Layout
from ipcv.vision.selection import Selection


class PackedEncoder(TokenAdapter):
    """Qwen2-VL, Qwen3.5 and later: items by `grid_thw`, attention in segments of `cu_seqlens`."""

    blocks_path = "blocks"
    norm_name = "norm1"
    attention_name = "attn"

    def open(self, arguments: Arguments, tiles: Sequence[int]) -> Layout:
        grids, device = arguments["grid_thw"].tolist(), arguments["hidden_states"].device
        config: Any = self.encoder.config
        return packed_layout(grids, config.spatial_merge_size, device)

    def layout(self, context: Layout, hidden_states: Tensor) -> Layout:
        return context

    def rows(self, hidden_states: Tensor) -> Tensor:
        return hidden_states

    def like(self, rows: Tensor, hidden_states: Tensor) -> Tensor:
        return rows

    def noise(self, side: int, images: int, frames: int) -> Noise:
        return packed_noise(self.encoder, side, images, frames)

    can_repeat = True

    def prune_arguments(self, arguments: Arguments, selection: Selection) -> Arguments:
        """`max_seqlen` stays, as an upper bound."""
        _, kept_segments = segments_of(arguments["cu_seqlens"], selection)
        embeddings = self._kept_embeddings(arguments["position_embeddings"], selection)
        return arguments | {
            "cu_seqlens": kept_segments.cu_seqlens,
            "position_embeddings": embeddings,
        }

    attends_kept = True  # segments may be empty, and are batched where the model loops over them

    def attend(
        self,
        attention: Any,
        queries: Tensor,
        keys: Tensor | None,
        arguments: Arguments,
        selection: Selection,
    ) -> Tensor:
        embeddings, max_seqlen = arguments["position_embeddings"], arguments.get("max_seqlen")
        segments, kept_segments = segments_of(arguments["cu_seqlens"], selection)
        kept_embeddings = self._kept_embeddings(embeddings, selection)
        if keys is None:
            segments, embeddings = kept_segments, kept_embeddings
        query, key, value = self._project(attention, queries, keys, selection)
        query, key = ops.rotate(query, *kept_embeddings), ops.rotate(key, *embeddings)
        output = attend_segments(
            attention, query, key, value, kept_segments, segments, max_seqlen, selection.bias
        )
        projected: Tensor = attention.proj(output.flatten(1))
        return projected

    def keys(self, attention: Any, normed: Tensor) -> Tensor:
        num_heads, qkv = attention.num_heads, attention.qkv
        if not is_plain_linear(qkv):
            every: Tensor = qkv(normed).view(len(normed), 3, num_heads, -1)
            return every[:, 1]
        _, weight, _ = qkv.weight.chunk(3)
        bias = None if qkv.bias is None else qkv.bias.chunk(3)[1]
        return F.linear(normed, weight, bias).view(len(normed), num_heads, -1)

    def segment_lengths(self, hidden_states: Tensor, arguments: Arguments) -> list[int]:
        lengths: list[int] = arguments["cu_seqlens"].diff().tolist()
        return lengths

    def heads(
        self, attention: Any, normed: Tensor, arguments: Arguments, positions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        query, key, value = (
            attention.qkv(normed).view(len(normed), 3, attention.num_heads, -1).unbind(1)
        )
        cos, sin = (x[positions] for x in arguments["position_embeddings"])
        return ops.rotate(query, cos, sin), ops.rotate(key, cos, sin), value, key

    def project_output(self, attention: Any, attended: Tensor, hidden_states: Tensor) -> Tensor:
        projected: Tensor = attention.proj(attended)
        return projected

    @staticmethod
    def _kept_embeddings(
        embeddings: tuple[Tensor, Tensor], selection: Selection
    ) -> tuple[Tensor, Tensor]:
        cos, sin = embeddings
        return selection.once(
            "position_embeddings",
            embeddings,
            compute=lambda: (cos[selection.kept], sin[selection.kept]),
        )

    @staticmethod
    def _project(
        attention: Any, queries: Tensor, keys: Tensor | None, selection: Selection
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Query `(K, heads, D)`, key and value `(N, heads, D)` of the fused projection."""
        num_heads, qkv = attention.num_heads, attention.qkv
        if keys is None:
            query, key, value = qkv(queries).view(len(queries), 3, num_heads, -1).unbind(1)
        elif is_plain_linear(qkv):
            split = qkv.weight.shape[0] // 3
            bias_q, bias_kv = (None, None) if qkv.bias is None else qkv.bias.tensor_split([split])
            query = F.linear(queries, qkv.weight[:split], bias_q).view(len(queries), num_heads, -1)
            key, value = (
                F.linear(keys, qkv.weight[split:], bias_kv)
                .view(len(keys), 2, num_heads, -1)
                .unbind(1)
            )
        else:
            query, key, value = qkv(keys).view(len(keys), 3, num_heads, -1).unbind(1)
            query = query[selection.kept]
        return query, key, value


class WindowedEncoder(PackedEncoder):
    """Qwen2.5-VL: rows are sorted by window inside each image."""

    can_repeat = False
    obstacle = "its blocks attend within windows"

    def open(self, arguments: Arguments, tiles: Sequence[int]) -> Layout:
        grid_thw, windows = arguments["grid_thw"], arguments.get("window_index")
        layout = super().open(arguments, tiles)
        return windowed(layout, partial(window_rows, self.encoder.config, grid_thw, windows))


class DeepStackEncoder(PackedEncoder):
    """Qwen3-VL: mergers read the output of some blocks on the way."""

    can_repeat = False

    def full_length_outputs(self, arguments: Arguments) -> set[int]:
        tapped: Any = self.encoder.deepstack_visual_indexes
        return super().full_length_outputs(arguments) | set(tapped)


def segments_of(cu_seqlens: Tensor, selection: Selection) -> tuple[Segments, Segments]:
    """Those of all rows, and what is left of each: how many kept rows lie before a boundary."""

    def segments() -> tuple[Segments, Segments]:
        kept = torch.searchsorted(selection.kept, cu_seqlens.long()).to(cu_seqlens.dtype)
        lengths, counts = selection.layout.group_lengths, selection.counts
        if len(cu_seqlens) == len(counts) + 1:  # one each, whose lengths the host knows
            return Segments(cu_seqlens, lengths), Segments(kept, counts)
        return Segments(cu_seqlens), Segments(kept)

    return selection.once("segments", cu_seqlens, compute=segments)


def packed_layout(grids: Sequence[Sequence[int]], merge: int, device: torch.device) -> Layout:
    """The layout of images and videos with these numbers of frames, rows and columns of patches."""
    lengths = tuple(t * h * w for t, h, w in grids)
    positions = partial(grid_positions, grids, merge, device)
    return Layout(lengths, lengths, positions, frames=tuple(t for t, _, _ in grids))


def windowed(layout: Layout, order: Callable[[], Tensor]) -> Layout:
    """The same for rows in another order, which gives the input row of each."""
    return replace(layout, order=order, positions=lambda: layout.positions()[order()])


def window_rows(sizes: Any, grid_thw: Tensor, windows: Tensor | None = None) -> Tensor:
    """`(N,)`: a window index permutes units of `spatial_merge_size ** 2` consecutive rows."""
    from transformers.vision_utils import get_vision_window_index

    if windows is None:
        windows, _ = get_vision_window_index(
            grid_thw, sizes.spatial_merge_size, sizes.window_size, sizes.patch_size
        )
    unit = sizes.spatial_merge_size**2
    rows: Tensor = windows[:, None] * unit + torch.arange(unit, device=windows.device)
    return rows.flatten()


def grid_positions(grids: Sequence[Sequence[int]], merge: int, device: torch.device) -> Tensor:
    """`(N, 3)` frame, row and column of every patch, in cells of `merge x merge` patches."""
    positions = [
        torch.cartesian_prod(*map(torch.arange, (t, h // merge, w // merge, merge, merge)))
        for t, h, w in grids
    ]
    frame, row, column, below, right = torch.cat(positions).unbind(1)
    return ops.upload(torch.stack([frame, row * merge + below, column * merge + right], 1), device)
