"""The stock Qwen2-VL modules, run on whole batches of equal images.

The stock vision attention loops over the images of a batch. Training draws images of one size per
batch, so here they go through each block together. The weights and the results are those of the
stock forward (``tests/bench/test_tiny_forward.py`` compares them).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.modeling_qwen2_vl import (
    Qwen2VisionTransformerPretrainedModel,
    VisionAttention,
)

MERGE = 2
MIDDLE = 4  # the block whose output should tell single characters


def patch_positions(rows: int, columns: int) -> Tensor:
    """(row, column) of every patch, (rows * columns, 2), in the order of the Qwen2-VL processor."""
    grid = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"))
    grid = grid.view(2, rows // MERGE, MERGE, columns // MERGE, MERGE)
    return grid.transpose(2, 3).reshape(2, -1).T


def encode(
    visual: Qwen2VisionTransformerPretrainedModel, patches: Tensor, rows: int, columns: int
) -> tuple[Tensor, Tensor]:
    """Equal images, ``patches`` (B, N, 3 * 14 * 14).

    Returns the states (B, N, C) after block ``MIDDLE`` and the merged features (B, N / 4, D).
    """
    cos, sin = visual.rotary_pos_emb(patches, patch_positions(rows, columns).to(patches.device))
    rotary = cos[:, None, None], sin[:, None, None]  # (N, 1, 1, head_dim)
    # Both frames of a temporal patch hold the same image: add their kernels.
    kernel = visual.patch_embed.proj.weight.sum(2).flatten(1)
    hidden = F.linear(patches, kernel)
    for index, block in enumerate(visual.blocks):
        hidden = hidden + _attend(block.attn, block.norm1(hidden), rotary)
        hidden = hidden + block.mlp(block.norm2(hidden))
        if index == MIDDLE:
            middle = hidden
    return middle, visual.merger(hidden.flatten(0, 1)).unflatten(0, (len(patches), -1))


def _attend(attn: VisionAttention, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = rotary
    qkv = attn.qkv(x).unflatten(-1, (3, attn.num_heads, attn.head_dim))
    qk, value = qkv[:, :, :2], qkv[:, :, 2]
    first, second = qk.chunk(2, dim=-1)
    qk = qk * cos + torch.cat((-second, first), dim=-1) * sin
    query, key = qk.unbind(2)
    out = F.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), scale=attn.scaling
    )
    projected: Tensor = attn.proj(out.transpose(1, 2).flatten(2))
    return projected


def image_positions(start: int, rows: int, columns: int) -> Tensor:
    """M-RoPE positions (3, cells) of an image of rows x columns cells."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return start + torch.stack((torch.zeros_like(row), row, column)).flatten(1)


def packed_layout(
    prefix: int, rows: int, columns: int, questions: int, length: int
) -> tuple[Tensor, Tensor]:
    """Positions (3, S) and the attention mask (S, S), true where a row may look.

    The sequence is the prefix, rows x columns image tokens, then ``questions`` x ``length`` tokens.
    """
    image = image_positions(prefix, rows, columns)
    after = prefix + max(rows, columns)
    positions = torch.cat(
        (
            torch.arange(prefix).expand(3, -1),
            image,
            (after + torch.arange(length)).repeat(questions).expand(3, -1),
        ),
        dim=1,
    )
    shared = prefix + rows * columns
    block = torch.cat((torch.zeros(shared), 1 + torch.arange(questions).repeat_interleave(length)))
    same = (block[:, None] == block[None]) | (block[None] == 0)
    return positions, same.tril()


def answer(
    model: Qwen2VLForConditionalGeneration,
    merged: Tensor,
    rows: int,
    columns: int,
    prefix: Sequence[int],
    ids: Tensor,
) -> tuple[Tensor, ...]:
    """Run the language model on images (B, cells, D) with packed questions ``ids`` (B, Q, T).

    Returns the hidden states (B, Q, T, D) of the questions after every layer; the last ones are
    normalized, ready for the output embedding.
    """
    language = model.model.language_model
    batch, questions, length = ids.shape
    positions, visible = packed_layout(len(prefix), rows, columns, questions, length)
    positions, visible = positions.to(ids.device), visible.to(ids.device)
    start = language.embed_tokens(torch.tensor(prefix, device=ids.device)).expand(batch, -1, -1)
    hidden = torch.cat((start, merged, language.embed_tokens(ids.flatten(1))), dim=1)
    rotary = language.rotary_emb(hidden, positions[:, None].expand(-1, batch, -1))
    mask = visible[None, None].expand(batch, 1, -1, -1)
    states = []
    for layer in language.layers:
        hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary)
        states.append(hidden)
    states[-1] = language.norm(hidden)
    first = len(prefix) + merged.shape[1]
    return tuple(state[:, first:].unflatten(1, (questions, length)) for state in states)
