"""Rows that are carried as a rectangle of tiles: their positions, their places, masks for them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ipcv.core import ops
from ipcv.vision.adapters.segments import padded_places
from ipcv.vision.selection import Selection


def positions_in_tiles(
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


def places_carried(selection: Selection) -> Tensor | None:
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
    layout, places = selection.layout, places_carried(selection)
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


def kept_queries(mask: Tensor, selection: Selection) -> Tensor:
    """The queries carried, of a mask `(B, heads, S, S)`."""
    index = kept_positions(selection)[:, None, :, None]
    mask = mask.expand(len(index), -1, -1, -1)
    return mask.gather(2, index.expand(-1, mask.shape[1], -1, mask.shape[3]))


def kept_mask(mask: Tensor, selection: Selection) -> Tensor:
    """The rows carried, of a mask over keys `(B, S)` or queries and keys `(B, heads, S, S)`."""
    positions = kept_positions(selection)
    if mask.dim() == 2:
        return mask.gather(1, positions)
    mask, index = kept_queries(mask, selection), positions[:, None, None, :]
    return mask.gather(3, index.expand(-1, *mask.shape[1:3], -1))
