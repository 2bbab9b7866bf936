"""The adapter for DINOv3: as DINOv2 with registers, but with rotary positions on the patches."""

from __future__ import annotations

from sys import modules
from typing import Any

from torch import Tensor

from ipcv.core.arguments import Arguments
from ipcv.vision.adapters.rectangles import kept_positions
from ipcv.vision.adapters.variants import Dinov2Encoder
from ipcv.vision.selection import Selection


class Dinov3Encoder(Dinov2Encoder):
    """Positions `cos`, `sin` are `(patches, D)` for all images, `(B, 1, kept, D)` once pruned."""

    blocks_path = "model.layer"
    obstacle = "its rotary positions come beside CLS and registers"

    def prune_arguments(self, arguments: Arguments, selection: Selection) -> Arguments:
        return super().prune_arguments(arguments, selection) | {
            "position_embeddings": self._kept_embeddings(arguments, selection)
        }

    def embed_positions(
        self, attention: Any, states: Tensor, arguments: Arguments, selection: Selection | None
    ) -> Tensor:
        embeddings = arguments["position_embeddings"]
        if selection is not None:
            embeddings = self._kept_embeddings(arguments, selection)
        return _rotate(attention, states, *embeddings)

    def _kept_embeddings(self, arguments: Arguments, selection: Selection) -> tuple[Tensor, Tensor]:
        cos, sin = embeddings = arguments["position_embeddings"]
        patches = kept_positions(selection)[:, None, self.protected :] - self.protected
        return selection.once(
            "position_embeddings", embeddings, compute=lambda: (cos[patches], sin[patches])
        )


def _rotate(attention: Any, states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The model's own rotation, which leaves CLS and registers alone: `(B, rows, heads, D)`."""
    rotate = modules[type(attention).__module__].apply_rotary_pos_emb
    states = states.transpose(1, 2)
    rotated: Tensor = rotate(states, states, cos, sin)[0]
    return rotated.transpose(1, 2)
