"""The one attention row that some methods rank image tokens by."""

from __future__ import annotations

from sys import modules
from typing import Any

import torch
from torch import Tensor

from ipcv.core import ops
from ipcv.core.arguments import Arguments, on_device
from ipcv.language.masks import pick_mask
from ipcv.language.tokens import pick_tokens


def last_token_attention(
    layer: Any, arguments: Arguments, last: tuple[int, ...], keys: Tensor
) -> Tensor:
    """Attention of one token per row, mean over heads: `(B, K)` fp32.

    Args:
        layer: a decoder layer.
        arguments: what it was called with, hidden states `(B, L, C)` among them.
        last: per row, the column of that token.
        keys: `(B, kv_heads, K, D)` its keys, after rotary embedding.
    """
    names = "hidden_states", "attention_mask", "position_embeddings"
    arguments = on_device({name: arguments.get(name) for name in names}, keys.device)
    hidden_states, mask = arguments["hidden_states"], arguments["attention_mask"]
    query = ops.upload([[column] for column in last], hidden_states.device)
    embeddings = tuple(pick_tokens(x, query) for x in arguments["position_embeddings"])
    logits = _logits(layer, pick_tokens(hidden_states, query), embeddings, keys)
    if mask is not None and mask.ndim == 4:
        columns = torch.arange(keys.shape[2], device=mask.device).expand(len(query), -1)
        mask = pick_mask(mask, query, columns)[:, :, 0]
    else:
        column = torch.arange(keys.shape[2], device=query.device)
        own = query + keys.shape[2] - hidden_states.shape[1]
        window = getattr(layer.self_attn, "sliding_window", None) or keys.shape[2]
        visible = (column <= own) & (column > own - window)
        mask = (visible if mask is None else visible & mask.bool())[:, None]
    is_bool = mask.dtype == torch.bool
    logits = logits.masked_fill(~mask, -torch.inf) if is_bool else logits + mask
    return logits.softmax(dim=-1).mean(dim=1)


def _logits(
    layer: Any, hidden_states: Tensor, position_embeddings: tuple[Tensor, ...], keys: Tensor
) -> Tensor:
    """Before the mask: `(B, heads, K)` fp32, for hidden states `(B, 1, C)`."""
    attention = layer.self_attn
    batch_size, kv_heads, _, head_dim = keys.shape
    query = attention.q_proj(layer.input_layernorm(hidden_states))
    query = query.view(batch_size, 1, -1, head_dim)
    if hasattr(attention, "q_norm"):
        query = attention.q_norm(query)
    query = query.transpose(1, 2)
    rotate = modules[type(attention).__module__].apply_rotary_pos_emb
    query, _ = rotate(query, query, *position_embeddings)
    # Heads that share keys are neighbours: (B, heads, 1, D) -> (B, kv_heads, shared, D).
    by_group = query.reshape(batch_size, kv_heads, -1, head_dim) @ keys.transpose(2, 3)
    logits: Tensor = by_group.flatten(1, 2).float() * attention.scaling
    if (cap := getattr(attention, "attn_logit_softcapping", None)) is not None:
        logits = torch.tanh(logits / cap) * cap
    return logits
