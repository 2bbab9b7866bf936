"""Adapters for the vision transformers of timm."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from sys import modules
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ipcv.core.arguments import Arguments
from ipcv.vision.adapters.base import AttentionFunction, attention_dropout, is_plain_linear
from ipcv.vision.adapters.batched import BatchedEncoder
from ipcv.vision.adapters.noise import Noise, random_pixels
from ipcv.vision.adapters.rectangles import kept_positions
from ipcv.vision.selection import Selection


class TimmEncoder(BatchedEncoder):
    """`VisionTransformer`: class token and registers, if any, come before the patches."""

    entries: ClassVar[Mapping[str, Arguments]] = {
        "forward_features": {},
        "forward_intermediates": {"indices": None},
    }
    blocks_path = "blocks"
    norm_name = "norm1"
    attention_name = "attn"
    states_name = "x"
    block_names: tuple[str, ...] = ("Block",)
    attention_names: tuple[str, ...] = ("Attention",)

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__(encoder)
        self.protected = int(encoder.num_prefix_tokens)  # type: ignore[arg-type]
        name = type(encoder).__name__
        for block in self.blocks:
            _require(type(block).__name__, self.block_names, f"blocks of this {name}")
            attention: Any = self.attention(block)
            _require(type(attention).__name__, self.attention_names, f"attention of this {name}")
            if getattr(attention, "gate", None) is not None:
                raise ValueError(f"the attention of this {name} has gates, which are not supported")

    def check_call(self, arguments: Arguments) -> None:
        super().check_call(arguments)
        encoder: Any = self.encoder
        if arguments.get("attn_mask") is not None or arguments.get("is_causal"):
            raise ValueError("a compressed timm model takes no attn_mask and no is_causal=True")
        if encoder.training and encoder.grad_checkpointing:
            raise RuntimeError(
                "a compressed encoder cannot be trained with gradient checkpointing, which runs "
                "single blocks again: call set_grad_checkpointing(False)"
            )
        if encoder.training and getattr(encoder.patch_drop, "prob", 0):
            raise RuntimeError(
                "a compressed encoder must get all patches: call eval(), or create the model with "
                "patch_drop_rate=0"
            )

    def columns(self, arguments: Arguments) -> int:
        encoder: Any = self.encoder
        return int(encoder.patch_embed.dynamic_feat_size(arguments["x"].shape[-2:])[1])

    def full_length_outputs(self, arguments: Arguments) -> set[int]:
        if "indices" not in arguments:
            return set(self.taps)
        indices, depth = arguments["indices"], len(self.blocks)
        if indices is None:
            return set(range(depth))
        last = range(depth - indices, depth) if isinstance(indices, int) else indices
        return {index % depth for index in last} | self.taps

    def attend(
        self,
        attention: Any,
        queries: Tensor,
        keys: Tensor | None,
        arguments: Arguments,
        selection: Selection,
    ) -> Any:
        return super().attend(attention, queries, keys, arguments, selection)[0]

    def attention_of(self, attention: Any) -> AttentionFunction:
        return partial(_attend, attention)

    def project(
        self, attention: Any, queries: Tensor, keys: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        query = self._normed(attention, attention.q_norm, self._projected(attention, 0, queries))
        return query, self.project_key(attention, keys), self._projected(attention, 2, keys)

    def project_key(self, attention: Any, keys: Tensor) -> Tensor:
        return self._normed(attention, attention.k_norm, self._projected(attention, 1, keys))

    def project_attended(self, attention: Any, attended: Tensor) -> Tensor:
        projected: Tensor = attention.proj_drop(attention.proj(attention.norm(attended)))
        return projected

    def project_output(self, attention: Any, attended: Tensor, hidden_states: Tensor) -> Any:
        return super().project_output(attention, attended, hidden_states)[0]

    def noise(self, side: int, images: int, frames: int) -> Noise:
        embed: Any = self.encoder.patch_embed
        pixels = random_pixels(self.encoder, frames or images, 3, *embed.img_size)
        return Noise({"x": pixels}, embed.num_patches).as_video(frames or 1)

    def _projected(self, attention: Any, part: int, states: Tensor) -> Tensor:
        """Queries (part 0), keys or values `(..., heads * D)`; as many heads of each."""
        if (qkv := attention.qkv) is None:
            projected: Tensor = (attention.q_proj, attention.k_proj, attention.v_proj)[part](states)
            groups = attention.num_heads * attention.head_dim // projected.shape[-1]
            return self.by_heads(attention, projected).repeat_interleave(groups, dim=-2).flatten(-2)
        names = ("q_bias", "k_bias", "v_bias")  # EVA has these instead of one
        bias: Tensor | None = getattr(attention, names[part], None)
        if not is_plain_linear(qkv):
            projected = qkv(states).chunk(3, dim=-1)[part]
            return projected if bias is None else projected + bias
        if qkv.bias is not None:
            bias = qkv.bias.chunk(3)[part]
        return F.linear(states, qkv.weight.chunk(3)[part], bias)

    def _normed(self, attention: Any, norm: nn.Module, states: Tensor) -> Tensor:
        """`(..., heads * D)` behind a norm of each head."""
        normed: Tensor = norm(self.by_heads(attention, states))
        return normed.flatten(-2)


class EvaEncoder(TimmEncoder):
    """`Eva` (EVA-02, Perception Encoder, DINOv3): rotary positions, if any, on the patches.

    They are `(patches, D)`, sine and cosine side by side; in some models of each head, and others
    in every block: `(heads, patches, D)`.
    """

    block_names = ("EvaBlock",)
    attention_names = ("EvaAttention", "AttentionRope")

    def prune_arguments(self, arguments: Arguments, selection: Selection) -> Arguments:
        pruned = super().prune_arguments(arguments, selection)
        if arguments.get("rope") is None:
            return pruned
        return pruned | {"rope": self._kept_angles(arguments, selection)[..., self.protected :, :]}

    def embed_positions(
        self, attention: Any, states: Tensor, arguments: Arguments, selection: Selection | None
    ) -> Tensor:
        if (rope := arguments.get("rope")) is None:
            return states
        if selection is None:
            angles = self._angles(rope)[None]
        else:
            angles = self._kept_angles(arguments, selection)
        return _rotated(attention, states, angles)

    def heads(
        self, attention: Any, normed: Tensor, arguments: Arguments, positions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        query, key, value, content = super().heads(attention, normed, arguments, positions)
        if (rope := arguments.get("rope")) is not None:
            angles = self._angles(rope)
            angles = angles[None, :, positions % angles.shape[1]]
            query, key = (_rotated(attention, x[None], angles)[0] for x in (query, key))
        return query, key, value, content

    def _angles(self, rope: Tensor) -> Tensor:
        """`(heads or 1, S, D)`: those of all rows; class token and registers are not turned."""
        angles = rope if rope.dim() == 3 else rope[None]
        sine, cosine = angles.new_zeros(2, len(angles), self.protected, angles.shape[-1] // 2)
        return torch.cat([torch.cat([sine, cosine + 1], dim=-1), angles], dim=1)

    def _kept_angles(self, arguments: Arguments, selection: Selection) -> Tensor:
        """`(B, heads or 1, rows, D)`: those of the rows carried."""
        rope: Tensor = arguments["rope"]
        return selection.once(
            "rope",
            rope,
            compute=lambda: self._angles(rope)[:, kept_positions(selection)].transpose(0, 1),
        )


def _require(name: str, known: tuple[str, ...], what: str) -> None:
    if name not in known:
        raise ValueError(f"the {what} are {name}, not {' or '.join(known)}, and not supported")


def _attend(
    attention: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> tuple[Tensor, None]:
    dropout = attention_dropout(attention)
    attended = F.scaled_dot_product_attention(query, key, value, mask, dropout)
    return attended.transpose(1, 2), None


def _rotated(attention: Any, states: Tensor, angles: Tensor) -> Tensor:
    """`(B, rows, heads, D)` by the model's own rotation."""
    rotate = modules[type(attention).__module__].apply_rot_embed_cat
    rotated: Tensor = rotate(states.transpose(1, 2), angles, half=attention.rotate_half)
    return rotated.transpose(1, 2).type_as(states)
