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
    is_flash,
)
from ipcv.vision.adapters.noise import Noise, tiled_noise
from ipcv.vision.adapters.rectangles import (
    kept_mask,
    kept_queries,
    places_carried,
    positions_in_tiles,
)
from ipcv.vision.adapters.segments import Segments, attend_segments
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
        (num_tiles, length, _), device = hidden_states.shape, hidden_states.device
        tiles = context.tiles if sum(context.tiles) == num_tiles else [1] * num_tiles
        padding, padding_lengths = None, ()
        if context.filled is not None:
            filled = context.filled.to(device).bool().reshape(num_tiles, length)
            is_empty = ~filled & filled.any(1, keepdim=True)  # all padding: nothing to tell apart
            if any(lengths := is_empty.sum(1).tolist()):
                padding, padding_lengths = is_empty.flatten(), tuple(lengths)
        return Layout(
            item_lengths=tuple(n * length for n in tiles),
            group_lengths=(length,) * num_tiles,
            positions=partial(
                positions_in_tiles, length, self.protected, context.columns, tiles, device
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
        rows, places = self.rows(hidden_states), places_carried(selection)
        return rows if places is None else rows[places]

    def pack(self, kept: Tensor, hidden_states: Tensor, selection: Selection) -> Tensor:
        if (places := places_carried(selection)) is not None:
            num_rows = len(selection.counts) * max(selection.counts)
            kept = kept.new_zeros(num_rows, *kept.shape[1:]).index_copy_(0, places, kept)
        return self.like(kept, hidden_states)

    def noise(self, side: int, images: int, frames: int) -> Noise:
        return tiled_noise(self.encoder, side, images, frames)

    def prune_arguments(self, arguments: Arguments, selection: Selection) -> Arguments:
        mask = arguments.get("attention_mask")
        if mask is None:
            return arguments.copy()
        kept = selection.once("mask", mask, compute=partial(kept_mask, mask, selection))
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
        if is_flash(attention) and (keys is None or mask is not None):
            attended = query, key, value
            output = self._attend_unpadded(attention, *attended, selection, keys is None)
        else:
            if keys is None:
                mask = self._bias_mask(selection, queries, query.dtype)
            elif mask is not None:
                mask = selection.once(
                    "queries", mask, compute=partial(kept_queries, mask, selection)
                )
            attend = self.attention_of(attention)
            states = (x.transpose(1, 2) for x in (query, key, value))
            output, weights = attend(*states, mask)
        return self.project_attended(attention, output.flatten(2)), weights

    def _bias_mask(
        self, selection: Selection, carried: Tensor, dtype: torch.dtype
    ) -> Tensor | None:
        """`(B, 1, 1, width)`, what is added for each of the rows carried, as a key."""
        places, bias = places_carried(selection), selection.bias
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

    def attention_of(self, attention: Any) -> AttentionFunction:
        """What attends `(query, key, value, mask)` of `(B, heads, rows, D)`."""
        return configured_attention(attention)

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
        self,
        attention: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        selection: Selection,
        kept_alone: bool,
    ) -> Tensor:
        """For flash attention, whose padding mask `(B, S)` needs as many queries as keys.

        It gets the rows without padding instead, packed: `(B, rows, heads, D)`.
        """
        queries, keys = selection.once(
            "unpadded", selection.layout, compute=partial(_unpadded, selection, query.device)
        )
        rows, bias = self.unpack(query, selection), None
        if kept_alone:
            keys, bias = queries, selection.bias
            key, value = (self.unpack(x, selection) for x in (key, value))
        else:
            key, value = (self._filled(x, selection.layout) for x in (key, value))
        longest = max(keys.lengths)
        output = attend_segments(attention, rows, key, value, queries, keys, longest, bias)
        return self.pack(output, query, selection)

    def _filled(self, states: Tensor, layout: Layout) -> Tensor:
        """Of the states of all rows those that hold a patch."""
        rows = self.rows(states)
        if layout.padding is None:
            return rows
        order = layout.padding.to(rows.device).int().argsort(stable=True)
        return rows[order[: sum(layout.filled_lengths)].sort().values]


def _unpadded(selection: Selection, device: torch.device) -> tuple[Segments, Segments]:
    """The kept rows, and all rows that hold a patch, image by image."""
    kept, filled = (
        Segments(ops.upload([0, *accumulate(lengths)], device, torch.int32), lengths)
        for lengths in (selection.counts, selection.layout.filled_lengths)
    )
    return kept, filled
