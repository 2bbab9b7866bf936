"""FLOPs as torch counts them, with what its counter leaves out on a CPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

aten = torch.ops.aten


def _cpu_attention(
    query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], *_: Any, **__: Any
) -> int:
    return int(sdpa_flop_count(query, key, value))


def _embedding_bag(weight: tuple[int, ...], indices: tuple[int, ...], *_: Any, **__: Any) -> int:
    """One addition per gathered element."""
    return math.prod(indices) * weight[1]


UNCOUNTED = {
    aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention,
    aten._embedding_bag: _embedding_bag,
    aten._embedding_bag_forward_only: _embedding_bag,
}
"""Formulas for operators that torch's counter takes for free."""


def count_flops(function: Callable[[], object]) -> int:
    """FLOPs (2 per multiply-add) of one call: matrix products, attention, neighbour means.

    Like torch's counter it leaves out norms, activations, softmax and sorting.
    """
    counter = FlopCounterMode(display=False, custom_mapping=UNCOUNTED)
    with counter, torch.no_grad():
        function()
    return int(counter.get_total_flops())
