"""States of all tokens and of the tokens carried, each from the other."""

from __future__ import annotations

import torch
from torch import Tensor


def pick_tokens(values: Tensor, columns: Tensor) -> Tensor:
    """Values `(B or 1, L, ...)` of the tokens in columns `(B, K)`, of the first for -1."""
    columns = columns.to(values.device).clamp(min=0)
    rows = torch.arange(len(values), device=values.device)[:, None]
    return values[rows, columns]


def restore_tokens(carried: Tensor, columns: Tensor, full: Tensor) -> Tensor:
    """All tokens: those carried, and the others as they are in `full`.

    Args:
        carried: `(B, K, C)`.
        columns: `(B, K)` their columns, -1 for none.
        full: `(B, L, C)`.

    Returns:
        `(B, L, C)`.
    """
    columns, length = columns.to(carried.device), full.shape[1]
    place = torch.arange(columns.shape[1], device=columns.device).expand_as(columns)
    # Columns that hold no token go to one more place, which is cut off.
    source = columns.new_full((len(columns), length + 1), -1)
    source = source.scatter(1, columns.where(columns >= 0, length), place)[:, :-1]
    states = pick_tokens(carried, source)
    return torch.where(source[..., None] >= 0, states, full.to(states.device))
