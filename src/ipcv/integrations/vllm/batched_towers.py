"""Adapters for vLLM's vision encoders of `(B, S, C)`, an image or tile per element of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from ipcv.core import ops
from ipcv.core.arguments import Arguments
from ipcv.integrations.vllm.settings import Attention
from ipcv.integrations.vllm.tower import Tower
from ipcv.vision.adapters.batched import BatchedEncoder
from ipcv.vision.adapters.gemma4 import Gemma4Encoder
from ipcv.vision.adapters.rectangles import places_carried
from ipcv.vision.adapters.segments import Segments
from ipcv.vision.selection import Selection


class BatchedTower(Tower, BatchedEncoder):
    """What they share: tiles that keep fewer rows than others are filled up."""

    def places(self, selection: Selection) -> Tensor | None:
        return places_carried(selection)

    def carried(self, attended: Tensor, shape: torch.Size, selection: Selection) -> Tensor:
        return self.pack(attended.reshape(-1, *shape[2:]), attended.new_empty(shape), selection)

    def unplaced(self, attention: Any, normed: Tensor) -> tuple[Tensor, Arguments]:
        """As one tile."""
        return normed[None], {}

    def segments(
        self, cu_seqlens: Tensor | None, selection: Selection
    ) -> tuple[Segments, Segments]:
        """One per tile."""
        device, layout = selection.kept.device, selection.layout
        return selection.once(
            "tiles",
            compute=lambda: (_runs(layout.group_lengths, device), _runs(selection.counts, device)),
        )


class InternVLTower(BatchedTower):
    """InternVL checkpoints of `transformers`: a CLS token before the patches."""

    blocks_path = "encoder.layer"
    norm_name = "layernorm_before"
    attention_name = "attention"
    protected = 1


class InternVLChatTower(InternVLTower):
    """InternVL checkpoints with remote code, which vLLM has a class for."""

    blocks_path = "encoder.layers"
    norm_name = "norm1"
    attention_name = "attn"


class SiglipTower(BatchedTower):
    """SigLIP: an encoder around the encoder."""

    blocks_path = "vision_model.encoder.layers"

    def columns(self, arguments: Arguments) -> int:
        config: Any = self.encoder.get_submodule("vision_model").config
        return int(arguments["pixel_values"].shape[-1] // config.patch_size)


class ClipTower(SiglipTower):
    """CLIP: a CLS token before the patches."""

    protected = 1


class Idefics3Tower(BatchedTower):
    """Idefics3 and SmolVLM: images of different size are padded to one."""

    padding_argument = "patch_attention_mask"


class Gemma4Tower(Gemma4Encoder):
    """Gemma 4: that of `transformers`, whole on every rank; vLLM calls its parts one by one."""

    blocks_path = "layers"

    def __init__(self, encoder: nn.Module, attention: Attention = "auto") -> None:
        super().__init__(encoder.get_submodule("encoder"))
        config: Any = encoder.config
        self.asking: str = config._attn_implementation
        if attention not in ("auto", self.asking):
            raise ValueError(
                f"ipcv attention must be auto or {self.asking} for Gemma 4, whose vision encoder "
                f"vLLM takes from transformers, got {attention}"
            )


def _runs(lengths: Sequence[int], device: torch.device) -> Segments:
    return Segments(ops.upload([0, *accumulate(lengths)], device, torch.int32), lengths)
