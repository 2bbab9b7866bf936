"""Adapters for encoders of `(B, S, C)`, one image or tile per element of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ipcv.core import ops
from ipcv.core.arguments import Arguments
from ipcv.vision.adapters.base import (
    AttentionFunction,
    TokenAdapter,
    configured_attention,
)
from ipcv.vision.adapters.noise import Noise, tiled_noise
from ipcv.vision.adapters.segments import Segments, attend_segments, padded_places
from ipcv.vision.layout import Layout
from ipcv.vision.selection import Selection


class Context(NamedTuple):
    """What the encoder was called with.

    Attributes:
        filled: whether a position holds a patch, `(B, ...)` flattening to `(B, S)`, or `None`.
        tiles: tiles per image, empty if not known.
        columns: patches side by side in a tile; a number, or `(B,)` where tiles differ.
    """

    filled: Tensor | None
    tiles: Sequence[int]
    columns: int | Tensor


class BatchedEncoder(TokenAdapter):
    """SigLIP, and what its shape is shared by. Every tile keeps its own best rows.

    An item is an image with all its tiles where the owner tells them, else one tile. With padding,
    images of different size keep different numbers of rows; those of the others that make up a
    rectangle are masked.

    Pooled outputs are made of all rows, as ever: of CLS, which is never removed, or by an attention
    that sees the rebuilt patches too.
    """

    blocks_path = "encoder.layers"
    norm_name = "layer_norm1"
    attention_name = "self_attn"
    output_name = "out_proj"
    protected: int = 0
    """Rows before the patches: CLS and registers."""
    padding_argument: str | None = None
    """The encoder's argument that is true where there is a patch."""

    def open(self, arguments: Arguments, tiles: Sequence[int]) -> Context:
        filled = arguments.get(self.padding_argument or "")
        return Context(filled, tiles, self.columns(arguments))

    def columns(self, arguments: Arguments) -> int | Tensor:
        """How many patches are side by side in a tile, from the encoder's arguments."""
        config: Any = self.encoder.config
        size, width = config.patch_size, arguments["pixel_values"].shape[-1]
        return int(width // (size if isinstance(size, int) else size[-1]))

    def layout(self, context: Context, hidden_states: Tensor) -> Layout:
        num_tiles, length, _ = hidden_states.shape
        tiles = context.tiles if sum(context.tiles) == num_tiles else [1] * num_tiles
        padding, padding_lengths = None, ()
        if context.filled is not None:
            filled = context.filled.to(hidden_states.device).bool().reshape(num_tiles, length)
            is_empty = ~filled & filled.any(1, keepdim=True)  # all padding: nothing to tell apart
            if any(lengths := is_empty.sum(1).tolist()):
                padding, padding_lengths = is_empty.flatten(), tuple(lengths)
        return Layout(
            item_lengths=tuple(n * length for n in tiles),
            group_lengths=(length,) * num_tiles,
            positions=partial(
                _positions, length, self.protected, context.columns, tiles, hidden_states.device
            ),
            protected=self.protected,
            rectangular=True,
            padding=padding,
            padding_lengths=padding_lengths,
        )

    def rows(self, hidden_states: Tensor) -> Tensor:
        return hidden_states.flatten(0, 1)

    def like(self, rows: Tensor, hidden_states: Tensor) -> Tensor:
        return rows.view(len(hidden_states), -1, *rows.shape[1:])

    def unpack(self, hidden_states: Tensor, selection: Selection) -> Tensor:
        rows, places = self.rows(hidden_states), _places(selection)
        return rows if places is None else rows[places]

    def pack(self, kept: Tensor, hidden_states: Tensor, selection: Selection) -> Tensor:
        if (places := _places(selection)) is not None:
            num_rows = len(selection.counts) * max(selection.counts)
            kept = kept.new_zeros(num_rows, *kept.shape[1:]).index_copy_(0, places, kept)
        return self.like(kept, hidden_states)

    def noise(self, side: int, images: int, frames: int) -> Noise:
        return tiled_noise(self.encoder, side, images, frames)

    def prune_arguments(self, arguments: Arguments, selection: Selection) -> Arguments:
        mask = arguments.get("attention_mask")
        if mask is None:
            return arguments.copy()
        kept = selection.once("mask", mask, compute=partial(_kept_mask, mask, selection))
        return arguments | {"attention_mask": kept}

    def attend(
        self,
        attention: Any,
        queries: Tensor,
        keys: Tensor | None,
        arguments: Arguments,
        selection: Selection,
    ) -> tuple[Tensor, Tensor | None]:
        mask: Tensor | None = arguments.get("attention_mask")
        # (B, rows, heads * D) -> (B, rows, heads, D)
        query, key, value = (
            self.by_heads(attention, x)
            for x in self.project(attention, queries, queries if keys is None else keys)
        )
        query = self.embed_positions(attention, query, arguments, selection)
        key = self.embed_positions(attention, key, arguments, selection if keys is None else None)
        weights = None
        if keys is not None and mask is not None and mask.dim() == 2:
            output = self._attend_unpadded(attention, query, key, value, selection)
        else:
            if keys is None:
                mask = self._bias_mask(selection, queries, query.dtype)
            elif mask is not None:
                mask = selection.once(
                    "queries", mask, compute=partial(_kept_queries, mask, selection)
                )
            attend = self.attention_of(attention, is_biased=keys is None)
            states = (x.transpose(1, 2) for x in (query, key, value))
            output, weights = attend(*states, mask)
        return self.project_attended(attention, output.flatten(2)), weights

    def _bias_mask(
        self, selection: Selection, carried: Tensor, dtype: torch.dtype
    ) -> Tensor | None:
        """`(B, 1, 1, width)`, what is added for each of the rows carried, as a key."""
        places, bias = _places(selection), selection.bias
        if bias is None:
            bias = torch.zeros_like(selection.kept, dtype=dtype)
            if places is None:
                return None
        rows = bias.to(dtype)[:, None]
        if places is not None:
            hidden = torch.finfo(dtype).min
            everything = rows.new_full((len(selection.counts) * max(selection.counts), 1), hidden)
            rows = everything.index_copy_(0, places, rows)
        return self.like(rows, carried).transpose(1, 2)[:, None]

    def attention_of(self, attention: Any, is_biased: bool) -> AttentionFunction:
        """What attends `(query, key, value, mask)` of `(B, heads, rows, D)`."""
        return configured_attention(attention, is_biased)

    def project_attended(self, attention: Any, attended: Tensor) -> Tensor:
        """What the attention makes of its heads' outputs, side by side."""
        projected: Tensor = attention.get_submodule(self.output_name)(attended)
        return projected

    def segment_lengths(self, hidden_states: Tensor, arguments: Arguments) -> list[int]:
        return [hidden_states.shape[1]] * len(hidden_states)

    def heads(
        self, attention: Any, normed: Tensor, arguments: Arguments, positions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        query, key, value = (
            self.by_heads(attention, x) for x in self.project(attention, normed, normed)
        )
        return query, key, value, key

    def project_output(
        self, attention: Any, attended: Tensor, hidden_states: Tensor
    ) -> tuple[Tensor, None]:
        return self.like(self.project_attended(attention, attended), hidden_states), None

    def project(
        self, attention: Any, queries: Tensor, keys: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, `(B, rows, heads * D)`."""
        key = self.project_key(attention, keys)
        return attention.q_proj(queries), key, attention.v_proj(keys)

    def project_key(self, attention: Any, keys: Tensor) -> Tensor:
        """The key alone, `(..., heads * D)`."""
        key: Tensor = attention.k_proj(keys)
        return key

    def keys(self, attention: Any, normed: Tensor) -> Tensor:
        return self.by_heads(attention, self.project_key(attention, normed))

    def by_heads(self, attention: Any, states: Tensor) -> Tensor:
        """`(..., heads * D)` as `(..., heads, D)`."""
        heads: Tensor = states.unflatten(-1, (-1, attention.head_dim))
        return heads

    def embed_positions(
        self, attention: Any, states: Tensor, arguments: Arguments, selection: Selection | None
    ) -> Tensor:
        """Queries or keys `(B, rows, heads, D)` after rotary position embedding where there is.

        They are of the rows that a selection keeps, or of all rows.
        """
        return states

    def _attend_unpadded(
        self, attention: Any, query: Tensor, key: Tensor, value: Tensor, selection: Selection
    ) -> Tensor:
        """For flash attention, whose padding mask `(B, S)` needs as many queries as keys.

        It gets the rows without padding instead, packed: `(B, rows, heads, D)`.
        """
        layout, device = selection.layout, query.device
        filled = layout.filled_lengths
        if layout.padding is not None:
            order = layout.padding.to(device).int().argsort(stable=True)
            key, value = (self.rows(x)[order[: sum(filled)].sort().values] for x in (key, value))
        else:
            key, value = self.rows(key), self.rows(value)
        queries, keys = selection.once(
            "unpadded",
            layout,
            compute=lambda: [
                Segments(ops.upload([0, *accumulate(lengths)], device, torch.int32), lengths)
                for lengths in (selection.counts, filled)
            ],
        )
        rows = self.unpack(query, selection)
        output = attend_segments(attention, rows, key, value, queries, keys, max(filled))
        return self.pack(output, query, selection)


def _positions(
    length: int,
    protected: int,
    columns: int | Tensor,
    tiles: Sequence[int],
    device: torch.device,
) -> Tensor:
    """`(B * length, 3)`: tile within its image, row and column; zeros for protected tokens."""
    patch = (torch.arange(length, device=device) - protected).clamp(min=0)
    width = torch.as_tensor(columns, device=device).view(-1, 1)
    tile = ops.upload([[i] for n in tiles for i in range(n)], device)
    return torch.stack(torch.broadcast_tensors(tile, patch // width, patch % width), -1).view(-1, 3)


def _places(selection: Selection) -> Tensor | None:
    """`(K,)`: where the kept rows are in the `(B, width)` rows carried; `None` if that is all."""
    counts, width = selection.counts, max(selection.counts)
    if min(counts) == width:
        return None
    return selection.once(
        "places",
        counts,
        compute=lambda: padded_places(counts, selection.kept.device),
    )


def kept_positions(selection: Selection) -> Tensor:
    """`(B, width)`: the position in its tile of each row carried.

    The rows that only make up the rectangle point at a padding row, which the mask hides, or where
    there is none at the last patch.
    """
    layout, places = selection.layout, _places(selection)
    num_tiles, length = len(selection.counts), layout.group_lengths[0]
    kept = selection.kept % length
    if places is None:
        return kept.view(num_tiles, -1)
    positions = kept.new_full((num_tiles, max(selection.counts)), length - 1)
    if layout.padding is not None:
        padding = layout.padding.to(kept.device).view(num_tiles, length)
        positions[:] = padding.int().argmax(1, keepdim=True)
    positions.view(-1)[places] = kept
    return positions


def _kept_queries(mask: Tensor, selection: Selection) -> Tensor:
    """The queries carried, of a mask `(B, heads, S, S)`."""
    index = kept_positions(selection)[:, None, :, None]
    mask = mask.expand(len(index), -1, -1, -1)
    return mask.gather(2, index.expand(-1, mask.shape[1], -1, mask.shape[3]))


def _kept_mask(mask: Tensor, selection: Selection) -> Tensor:
    """The rows carried, of a mask over keys `(B, S)` or queries and keys `(B, heads, S, S)`."""
    positions = kept_positions(selection)
    if mask.dim() == 2:
        return mask.gather(1, positions)
    mask, index = _kept_queries(mask, selection), positions[:, None, None, :]
    return mask.gather(3, index.expand(-1, *mask.shape[1:3], -1))
