"""Adapters for vLLM's vision encoders of packed rows."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from vllm.v1.attention.backends.registry import AttentionBackendEnum

from ipcv.core.arguments import Arguments
from ipcv.integrations.vllm.tower import Tower
from ipcv.vision.adapters.packed import (
    PackedEncoder,
    packed_layout,
    segments_of,
    window_rows,
    windowed,
)
from ipcv.vision.adapters.pixtral import PixtralShape
from ipcv.vision.adapters.segments import Segments
from ipcv.vision.layout import Layout
from ipcv.vision.selection import Selection


class PackedTower(Tower, PackedEncoder):
    """Qwen2-VL: hidden states `(N, 1, C)`, rotary positions in two arguments."""

    states_name = "x"

    def open(self, arguments: Arguments, tiles: Sequence[int]) -> Layout:
        encoder: Any = self.encoder
        grids = torch.as_tensor(arguments["grid_thw"]).tolist()
        return packed_layout(grids, encoder.spatial_merge_size, encoder.device)

    def rows(self, hidden_states: Tensor) -> Tensor:
        return hidden_states.squeeze(1)

    def like(self, rows: Tensor, hidden_states: Tensor) -> Tensor:
        return rows.unsqueeze(1)

    def unplaced(self, attention: Any, normed: Tensor) -> tuple[Tensor, Arguments]:
        """Rotated by no angle, in one segment."""
        length, half = len(normed), attention.attn.head_size // 2
        cos, sin = normed.new_ones(length, half), normed.new_zeros(length, half)
        others = dict.fromkeys(("max_seqlen", "sequence_lengths"))
        others |= {"cu_seqlens": torch.tensor([0, length], dtype=torch.int32)}
        others |= {"rotary_pos_emb_cos": cos, "rotary_pos_emb_sin": sin}
        taken = inspect.signature(type(attention).forward).parameters
        return normed.unsqueeze(1), {name: x for name, x in others.items() if name in taken}

    def prune_arguments(self, arguments: Arguments, selection: Selection) -> Arguments:
        """`max_seqlen` stays, as an upper bound. Flash attention alone takes empty segments."""
        _, segments = self.segments(arguments["cu_seqlens"], selection)
        pruned = arguments | {"cu_seqlens": segments.cu_seqlens}
        if self.backend != AttentionBackendEnum.FLASH_ATTN:
            filled = segments.once("filled", compute=segments.cu_seqlens.unique_consecutive)
            pruned["cu_seqlens"] = filled
        for name in ("rotary_pos_emb_cos", "rotary_pos_emb_sin"):
            rows: Tensor = arguments[name]
            pruned[name] = selection.once(name, rows, compute=partial(_rows, rows, selection))
        return pruned

    def segments(
        self, cu_seqlens: Tensor | None, selection: Selection
    ) -> tuple[Segments, Segments]:
        assert cu_seqlens is not None
        return segments_of(cu_seqlens, selection)


class WindowedTower(PackedTower):
    """Qwen2.5-VL: rows are sorted by window inside each image."""

    def open(self, arguments: Arguments, tiles: Sequence[int]) -> Layout:
        encoder: Any = self.encoder
        grid_thw = torch.as_tensor(arguments["grid_thw"], device=encoder.device)
        layout = super().open(arguments, tiles)
        return windowed(layout, partial(window_rows, encoder, grid_thw))

    @property
    def breaks(self) -> set[int]:
        """Blocks that attend in whole frames, and those behind them."""
        encoder: Any = self.encoder
        frames = set(encoder.fullatt_block_indexes)
        return frames | {index + 1 for index in frames}


class FramesTower(PackedTower):
    """GLM-4.1V and GLM-OCR: the frames of a video are images."""

    def open(self, arguments: Arguments, tiles: Sequence[int]) -> Layout:
        grids = torch.as_tensor(arguments["grid_thw"]).tolist()
        frames = [(1, height, width) for count, height, width in grids for _ in range(count)]
        return super().open(arguments | {"grid_thw": frames}, tiles)

    def rows(self, hidden_states: Tensor) -> Tensor:
        """A copy: on CUDA a block's second norm writes over what the block was given."""
        return super().rows(hidden_states).clone()

    def unpack(self, hidden_states: Tensor, selection: Selection) -> Tensor:
        """No copy: nobody looks at kept rows once their block has run."""
        return super().rows(hidden_states)


class DeepStackTower(PackedTower):
    """Qwen3-VL: mergers read the output of some blocks on the way."""

    def full_length_outputs(self, arguments: Arguments) -> set[int]:
        tapped: Any = self.encoder.deepstack_visual_indexes
        return set(tapped)


class PixtralTower(PixtralShape, PackedTower):
    """Pixtral: hidden states `(1, N, C)`."""

    states_name = "hidden_states"
    goes_on_with_kept = False

    def open(self, arguments: Arguments, tiles: Sequence[int]) -> Layout:
        encoder: Any = self.encoder
        sizes = [pixels.shape[-2:] for pixels in arguments["pixel_values"]]
        return self.layout_of(sizes, encoder.device)

    def rows(self, hidden_states: Tensor) -> Tensor:
        return hidden_states.squeeze(0)

    def like(self, rows: Tensor, hidden_states: Tensor) -> Tensor:
        return rows.unsqueeze(0)

    def others(self, arguments: Arguments) -> Arguments:
        others = super().others(arguments)
        names = ("rotary_pos_emb_cos", "rotary_pos_emb_sin")
        return others | {"position_embeddings": tuple(others.pop(name) for name in names)}

    def unplaced(self, attention: Any, normed: Tensor) -> tuple[Tensor, Arguments]:
        """Rotated by no angle, in one segment."""
        shape = len(normed), attention.head_dim
        embeddings = normed.new_ones(shape), normed.new_zeros(shape)
        others = dict.fromkeys(("cu_seqlens", "max_seqlen", "sequence_lengths"))
        return normed.unsqueeze(0), others | {"position_embeddings": embeddings}

    def carried(self, attended: Tensor, shape: torch.Size, selection: Selection) -> Tensor:
        """At their places: the attention wants as many back."""
        everything = attended.new_zeros(shape[1:]).index_copy_(0, selection.kept, attended)
        return everything.unsqueeze(0)


def _rows(rows: Tensor, selection: Selection) -> Tensor:
    return rows[selection.kept]
