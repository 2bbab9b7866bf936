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
    Qwen2VLDecoderLayer,
    VisionAttention,
)

MERGE = 2
MIDDLE = 4  # the block whose output should tell single characters
# At which layers the first head of a token should look at the object that it names, and that it
# asks for: the first layer sees words and image as they are.
LOOKS = (0, 2)


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
    qkv = attn.qkv(x).unflatten(-1, (3, attn.num_heads, attn.head_dim))
    query, key = _rotate(qkv[:, :, :2], rotary).unbind(2)
    value = qkv[:, :, 2]
    out = F.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), scale=attn.scaling
    )
    projected: Tensor = attn.proj(out.transpose(1, 2).flatten(2))
    return projected


def _rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = rotary
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def image_positions(start: int, rows: int, columns: int) -> Tensor:
    """M-RoPE positions (3, cells) of an image of rows x columns cells."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return start + torch.stack((torch.zeros_like(row), row, column)).flatten(1)


def packed_layout(
    prefix: int, frames: int, rows: int, columns: int, between: int, questions: int, length: int
) -> tuple[Tensor, Tensor]:
    """Positions (3, S) and the attention mask (S, S), true where a row may look.

    The sequence is the prefix, as many frames of rows x columns image tokens with ``between``
    tokens between two of them, then ``questions`` x ``length`` tokens.
    """
    spans, start = [torch.arange(prefix).expand(3, -1)], prefix
    for frame in range(frames):
        if frame:
            spans.append((start + torch.arange(between)).expand(3, -1))
            start += between
        spans.append(image_positions(start, rows, columns))
        start += max(rows, columns)
    shared = sum(span.shape[1] for span in spans)
    spans.append((start + torch.arange(length)).repeat(questions).expand(3, -1))
    block = torch.cat((torch.zeros(shared), 1 + torch.arange(questions).repeat_interleave(length)))
    same = (block[:, None] == block[None]) | (block[None] == 0)
    return torch.cat(spans, dim=1), same.tril()


def answer(
    model: Qwen2VLForConditionalGeneration,
    merged: Tensor,
    rows: int,
    columns: int,
    prefix: Sequence[int],
    between: Sequence[int],
    ids: Tensor,
    named: Tensor,
) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    """Run the language model on frames (B, F, cells, D) with packed questions ``ids`` (B, Q, T).

    ``between`` are the tokens between two frames. Returns the hidden states (B, Q, T, D) of the
    questions after every layer, the last ones normalized, ready for the output embedding; and how
    the tokens ``named`` (B, Q, N) of each question look at the first frame in each layer of
    :data:`LOOKS`: logarithms of the first head's attention (B, Q, N, cells).
    """
    language = model.model.language_model
    batch, questions, length = ids.shape
    frames = merged.shape[1]
    positions, visible = packed_layout(
        len(prefix), frames, rows, columns, len(between), questions, length
    )
    positions, visible = positions.to(ids.device), visible.to(ids.device)

    def embedded(tokens: Sequence[int]) -> Tensor:
        out: Tensor = language.embed_tokens(torch.tensor(tokens, device=ids.device))
        return out

    gaps = embedded(between).expand(batch, frames, -1, -1)
    shown = torch.cat((gaps, merged), dim=2).flatten(1, 2)[:, len(between) :]
    start = embedded(prefix).expand(batch, -1, -1)
    hidden = torch.cat((start, shown, language.embed_tokens(ids.flatten(1))), dim=1)
    rotary = language.rotary_emb(hidden, positions[:, None].expand(-1, batch, -1))
    mask = visible[None, None].expand(batch, 1, -1, -1)
    first = hidden.shape[1] - questions * length
    starts = first + length * torch.arange(questions, device=ids.device)[:, None]
    tokens = (starts + named.clamp(min=0)).flatten(1)  # (B, Q * N) of the whole sequence
    cells = slice(len(prefix), len(prefix) + merged.shape[2])
    states, looks = [], []
    for index, layer in enumerate(language.layers):
        if index in LOOKS:
            looked = _first_head(layer, hidden, rotary, tokens, visible)[..., cells]
            looks.append(looked.unflatten(1, named.shape[1:]))
        hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary)
        states.append(hidden)
    states[-1] = language.norm(hidden)
    return tuple(s[:, first:].unflatten(1, (questions, length)) for s in states), looks


def _first_head(
    layer: Qwen2VLDecoderLayer,
    hidden: Tensor,
    rotary: tuple[Tensor, Tensor],
    tokens: Tensor,
    visible: Tensor,
) -> Tensor:
    """Logarithms (B, N, S) of what the first head of these tokens (B, N) pays to all others."""
    attn = layer.self_attn
    width = attn.head_dim
    normed = layer.input_layernorm(hidden)
    key = _rotate(F.linear(normed, attn.k_proj.weight[:width], attn.k_proj.bias[:width]), rotary)
    asking = _rotate(F.linear(normed, attn.q_proj.weight[:width], attn.q_proj.bias[:width]), rotary)
    query = asking.gather(1, tokens[..., None].expand(-1, -1, width))
    logits: Tensor = attn.scaling * query @ key.mT
    return logits.masked_fill(~visible[tokens], float("-inf")).log_softmax(-1)
