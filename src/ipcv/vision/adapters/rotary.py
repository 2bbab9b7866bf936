"""Adapters for batches of images with rotary positions: Step 3.7 and Llama 4."""

from __future__ import annotations

from abc import abstractmethod
from sys import modules
from typing import Any

import torch
from torch import Tensor

from ipcv.core.arguments import Arguments
from ipcv.vision.adapters.batched import BatchedEncoder
from ipcv.vision.adapters.rectangles import kept_positions
from ipcv.vision.selection import Selection


class RotaryEncoder(BatchedEncoder):
    """Rotary positions are an argument of the blocks, the same for all images."""

    positions_name: str
    """The argument."""

    @abstractmethod
    def angles(self, embeddings: Any, index: Tensor) -> Any:
        """The embeddings of the rows of an image with these indices `(B, rows)`."""

    @abstractmethod
    def rotate(self, attention: Any, states: Tensor, angles: Any) -> Tensor:
        """Queries or keys `(B, rows, heads, D)` by what `angles` gave."""

    def places(self, rows: Tensor) -> Tensor:
        """Where in an image the encoder has the rows with these indices."""
        return rows

    def prune_arguments(self, arguments: Arguments, selection: Selection) -> Arguments:
        return super().prune_arguments(arguments, selection) | {
            self.positions_name: self._kept_angles(arguments, selection)
        }

    def embed_positions(
        self, attention: Any, states: Tensor, arguments: Arguments, selection: Selection | None
    ) -> Tensor:
        if selection is None:
            everything = torch.arange(states.shape[1], device=states.device)[None]
            angles = self.angles(arguments[self.positions_name], everything)
        else:
            angles = self._kept_angles(arguments, selection)
        return self.rotate(attention, states, angles)

    def heads(
        self, attention: Any, normed: Tensor, arguments: Arguments, positions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        query, key, value, content = super().heads(attention, normed, arguments, positions)
        embeddings = arguments[self.positions_name]
        length = len(embeddings[0]) if isinstance(embeddings, tuple) else len(embeddings)
        angles = self.angles(embeddings, self.places(positions % length)[None])
        query, key = (self.rotate(attention, x[None], angles)[0] for x in (query, key))
        return query, key, value, content

    def _kept_angles(self, arguments: Arguments, selection: Selection) -> Any:
        embeddings = arguments[self.positions_name]

        def compute() -> Any:
            kept = self.places(kept_positions(selection))
            return self.angles(embeddings, self.like(kept.flatten(), kept))

        return selection.once(self.positions_name, embeddings, compute=compute)


class Step3Encoder(RotaryEncoder):
    """Step 3.7: `cos` and `sin` are `(S, D)`."""

    blocks_path = "layers"
    norm_name = "layernorm_before"
    positions_name = "position_embeddings"

    def angles(self, embeddings: tuple[Tensor, Tensor], index: Tensor) -> tuple[Tensor, Tensor]:
        return embeddings[0][index], embeddings[1][index]

    def rotate(self, attention: Any, states: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
        apply = modules[type(attention).__module__].apply_rotary_pos_emb_vision
        rotated: Tensor = apply(states, states, *angles)[0]
        return rotated


class Llama4Encoder(RotaryEncoder):
    """Llama 4: the CLS token comes last; as a row, it is the first. Positions are `(S, 1, D / 2)`.

    The model's own attention takes the same positions for all images, and hence not kept rows.
    """

    blocks_path = "model.layers"
    norm_name = "input_layernorm"
    output_name = "o_proj"
    states_name = "hidden_state"
    positions_name = "freqs_ci"
    protected = 1
    attends_kept = True

    def rows(self, hidden_states: Tensor) -> Tensor:
        return super().rows(hidden_states.roll(1, dims=1))

    def like(self, rows: Tensor, hidden_states: Tensor) -> Tensor:
        return super().like(rows, hidden_states).roll(-1, dims=1)

    def places(self, rows: Tensor) -> Tensor:
        config: Any = self.encoder.config
        patches = (config.image_size // config.patch_size) ** 2
        return torch.where(rows == 0, patches, rows - 1)

    def angles(self, embeddings: Tensor, index: Tensor) -> Tensor:
        return embeddings[index]

    def rotate(self, attention: Any, states: Tensor, angles: Tensor) -> Tensor:
        pairs = torch.view_as_complex(states.float().unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * angles).flatten(-2).type_as(states)
