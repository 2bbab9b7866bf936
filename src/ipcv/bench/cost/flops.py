"""FLOPs as torch counts them, with what its counter leaves out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

aten = torch.ops.aten


def _attention(
    query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], *_: Any, **__: Any
) -> int:
    """Of every query head; those that share keys (grouped queries) do not share the work."""
    heads = query[:2]
    return int(sdpa_flop_count(query, (*heads, *key[2:]), (*heads, *value[2:])))


def _embedding_bag(weight: tuple[int, ...], indices: tuple[int, ...], *_: Any, **__: Any) -> int:
    """One addition per gathered element."""
    return math.prod(indices) * weight[1]


FORMULAS = {
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention: _attention,
    aten._scaled_dot_product_efficient_attention: _attention,
    aten._scaled_dot_product_cudnn_attention: _attention,
    aten._embedding_bag: _embedding_bag,
    aten._embedding_bag_forward_only: _embedding_bag,
}
"""Formulas for operators that torch's counter takes for free, or refuses with grouped queries."""


def flop_counter() -> FlopCounterMode:
    """Counts FLOPs (2 per multiply-add) under it: matrix products, attention, neighbour means.

    Like torch's counter it leaves out norms, activations, softmax and sorting.
    """
    return FlopCounterMode(display=False, custom_mapping=FORMULAS)


def count_flops(function: Callable[[], object]) -> int:
    """FLOPs of one call, as `flop_counter` counts them."""
    with flop_counter() as counter, torch.no_grad():
        function()
    return int(counter.get_total_flops())
