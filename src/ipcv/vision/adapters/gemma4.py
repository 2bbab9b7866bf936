"""The adapter for Gemma 4: padded patch sequences with rotary positions, and norms in attention."""

from __future__ import annotations

from collections.abc import Sequence
from sys import modules
from typing import Any

import torch
from torch import Tensor

from ipcv.core.arguments import Arguments
from ipcv.vision.adapters.batched import BatchedEncoder, Context
from ipcv.vision.adapters.noise import Noise, random_pixels
from ipcv.vision.adapters.rectangles import kept_positions
from ipcv.vision.selection import Selection


class Gemma4Encoder(BatchedEncoder):
    """Positions `cos`, `sin` are `(B, S, D)`, of patches at `pixel_position_ids` (column, row)."""

    norm_name = "input_layernorm"
    output_name = "o_proj"
    obstacle = "its images are padded to one length"

    def open(self, arguments: Arguments, tiles: Sequence[int]) -> Context:
        places = arguments["pixel_position_ids"]
        filled = (places != -1).any(dim=-1)
        return Context(filled, tiles, places[..., 0].amax(dim=1) + 1)

    def prune_arguments(self, arguments: Arguments, selection: Selection) -> Arguments:
        index = kept_positions(selection)[..., None].expand(-1, -1, 2)
        return super().prune_arguments(arguments, selection) | {
            "position_embeddings": self._kept_embeddings(arguments, selection),
            "position_ids": arguments["position_ids"].gather(1, index),
        }

    def project(
        self, attention: Any, queries: Tensor, keys: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = super().project(attention, queries, keys)
        query, value = _normed(attention, "q_norm", query), _normed(attention, "v_norm", value)
        return query, key, value

    def project_key(self, attention: Any, keys: Tensor) -> Tensor:
        return _normed(attention, "k_norm", super().project_key(attention, keys))

    def embed_positions(
        self, attention: Any, states: Tensor, arguments: Arguments, selection: Selection | None
    ) -> Tensor:
        embeddings = arguments["position_embeddings"]
        if selection is not None:
            embeddings = self._kept_embeddings(arguments, selection)
        return _rotated(attention, states, embeddings)

    def heads(
        self, attention: Any, normed: Tensor, arguments: Arguments, positions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        query, key, value, content = super().heads(attention, normed, arguments, positions)
        cos, sin = (x.flatten(0, 1)[None, positions] for x in arguments["position_embeddings"])
        query, key = (_rotated(attention, x[None], (cos, sin))[0] for x in (query, key))
        return query, key, value, content

    def noise(self, side: int, images: int, frames: int) -> Noise:
        config: Any = self.encoder.config
        rows = max(1, round(side / (config.patch_size * config.pooling_kernel_size)))
        rows *= config.pooling_kernel_size
        number, width = frames or images, 3 * config.patch_size**2
        pixels = random_pixels(self.encoder, number, rows**2, width)
        grid = torch.cartesian_prod(torch.arange(rows), torch.arange(rows)).flip(1)
        places = grid.to(pixels.device).expand(number, -1, -1)
        arguments = {"pixel_values": pixels, "pixel_position_ids": places}
        return Noise(arguments, rows**2).as_video(frames or 1)

    def _kept_embeddings(self, arguments: Arguments, selection: Selection) -> tuple[Tensor, Tensor]:
        cos, sin = embeddings = arguments["position_embeddings"]

        def gather() -> tuple[Tensor, Tensor]:
            index = kept_positions(selection)[..., None].expand(-1, -1, cos.shape[-1])
            return cos.gather(1, index), sin.gather(1, index)

        return selection.once("position_embeddings", embeddings, compute=gather)


def _normed(attention: Any, name: str, states: Tensor) -> Tensor:
    """`(..., heads * D)` behind a norm of each head."""
    heads = states.unflatten(-1, (-1, attention.head_dim))
    normed: Tensor = attention.get_submodule(name)(heads)
    return normed.flatten(-2)


def _rotated(attention: Any, states: Tensor, embeddings: tuple[Tensor, Tensor]) -> Tensor:
    """`(B, rows, heads, D)` by the model's own rotation."""
    rotate = modules[type(attention).__module__].apply_multidimensional_rope
    columns_and_rows = torch.empty(2, device="meta")  # of which only the number is asked
    rotated: Tensor = rotate(states, *embeddings, columns_and_rows)
    return rotated
