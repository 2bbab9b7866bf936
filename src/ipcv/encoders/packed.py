"""Encoders whose hidden states are packed rows `(N, C)` with `cu_seqlens`: the Qwen-VL family."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ipcv import ops
from ipcv.encoders.base import (
    Arguments,
    EncoderAdapter,
    attention_function,
    is_plain_linear,
    pruned_cu_seqlens,
)
from ipcv.selection import Layout, Selection


class PackedEncoder(EncoderAdapter):
    """Qwen2-VL. Items come from `grid_thw`; attention is within the segments of `cu_seqlens`."""

    blocks_path = "blocks"
    norm_name = "norm1"
    attention_name = "attn"

    def open(self, arguments: Arguments) -> tuple[int, ...]:
        """Rows per item."""
        return tuple(t * h * w for t, h, w in arguments["grid_thw"].tolist())

    def layout(self, context: tuple[int, ...], hidden_states: Tensor) -> Layout:
        return Layout(item_lengths=context, group_lengths=context)

    def rows(self, hidden_states: Tensor) -> Tensor:
        return hidden_states

    def like(self, rows: Tensor, hidden_states: Tensor) -> Tensor:
        return rows

    def prune_arguments(self, arguments: Arguments, selection: Selection) -> Arguments:
        """`max_seqlen` stays as the upper bound: reading the new one would wait for the device."""
        embeddings = arguments["position_embeddings"]
        return arguments | {
            "cu_seqlens": pruned_cu_seqlens(arguments["cu_seqlens"], selection),
            "position_embeddings": self._kept_embeddings(embeddings, selection),
        }

    def attend(
        self,
        attention: Any,
        queries: Tensor,
        keys: Tensor,
        arguments: Arguments,
        selection: Selection,
    ) -> Tensor:
        embeddings, cu_keys = arguments["position_embeddings"], arguments["cu_seqlens"]
        cu_queries = pruned_cu_seqlens(cu_keys, selection)
        query, key, value = self._project(attention, queries, keys, selection)
        query = ops.rotate(query, *self._kept_embeddings(embeddings, selection))
        key = ops.rotate(key, *embeddings)
        # (rows, heads, D) -> (1, heads, rows, D), as the attention implementations take it.
        query, key, value = (x.transpose(0, 1).unsqueeze(0) for x in (query, key, value))
        output = _attend_segments(
            attention, query, key, value, cu_queries, cu_keys, arguments.get("max_seqlen")
        )
        projected: Tensor = attention.proj(output.reshape(len(queries), -1))
        return projected

    @staticmethod
    def _kept_embeddings(
        embeddings: tuple[Tensor, Tensor], selection: Selection
    ) -> tuple[Tensor, Tensor]:
        cos, sin = embeddings
        return selection.once(
            "position_embeddings", embeddings, lambda: (cos[selection.kept], sin[selection.kept])
        )

    @staticmethod
    def _project(
        attention: Any, queries: Tensor, keys: Tensor, selection: Selection
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Query `(K, heads, D)`, key and value `(N, heads, D)` of the fused projection."""
        num_heads, qkv = attention.num_heads, attention.qkv
        if is_plain_linear(qkv):
            split = qkv.weight.shape[0] // 3
            bias_q, bias_kv = (None, None) if qkv.bias is None else qkv.bias.tensor_split([split])
            query = F.linear(queries, qkv.weight[:split], bias_q).view(len(queries), num_heads, -1)
            key, value = (
                F.linear(keys, qkv.weight[split:], bias_kv)
                .view(len(keys), 2, num_heads, -1)
                .unbind(1)
            )
        else:
            query, key, value = qkv(keys).view(len(keys), 3, num_heads, -1).unbind(1)
            query = query[selection.kept]
        return query, key, value


def _attend_segments(
    attention: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_queries: Tensor,
    cu_keys: Tensor,
    max_seqlen: int | None,
) -> Tensor:
    """Attention of `(1, heads, rows, D)` within segments: `(1, query rows, heads, D)`."""
    function = attention_function(attention)
    options = {"attention_mask": None, "scaling": attention.scaling, "is_causal": False}
    if "flash" in attention.config._attn_implementation:
        if max_seqlen is None:
            max_seqlen = int(cu_keys.diff().max())
        return function(
            attention,
            query,
            key,
            value,
            cu_seq_lens_q=cu_queries,
            cu_seq_lens_k=cu_keys,
            max_length_q=max_seqlen,
            max_length_k=max_seqlen,
            **options,
        )[0]
    query_lengths, key_lengths = cu_queries.diff().tolist(), cu_keys.diff().tolist()
    segments = zip(
        query.split(query_lengths, dim=2),
        key.split(key_lengths, dim=2),
        value.split(key_lengths, dim=2),
        strict=True,
    )
    return torch.cat(
        [function(attention, q, k, v, **options)[0] for q, k, v in segments if q.shape[2]], dim=1
    )
