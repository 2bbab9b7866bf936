"""Tokens of an encoder on their way through blocks that let fewer and fewer of them pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Tokens(NamedTuple):
    """`G` segments of `n` tokens at the start of a block.

    Attributes:
        states: `(G, n, C)` its input.
        query, key, value: `(G, n, heads, D)`.
        plain_key: `(G, n, heads, D)` keys before rotary embedding.
    """

    states: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    plain_key: Tensor


Attend = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Attention of `(G, n, heads, D)` queries, keys and values, in which keys count by their sizes
`(G, n)`: `(G, n, heads * D)`.
"""


@dataclass
class TokenRun(ABC):
    """Tokens of `G` consecutive attention segments of equal length, on their way.

    Attributes:
        lengths: tokens of a segment at the input of each block, and behind them all.
        protected: tokens at the start of a segment that all go on.
        rows: `(G, n)` the input row of each token, whose position it has.
        sizes: `(G, n)` fp32, patches per token.
    """

    lengths: tuple[int, ...]
    protected: int
    rows: Tensor
    sizes: Tensor

    @abstractmethod
    def shrink(self, tokens: Tokens, r: int, attend: Attend) -> tuple[Tensor, Tensor]:
        """Go on with `r` tokens less per segment.

        Returns:
            `(G, n - r, C)` the block's input, and `(G, n - r, heads * D)` its attention.
        """

    @abstractmethod
    def restore(self, tokens: Tensor) -> Tensor:
        """A state for every row, from the tokens left: `(G, n, C) -> (G, lengths[0], C)`."""

    def to(self, device: torch.device) -> None:
        """Follow a model whose blocks are split over devices."""
        self.rows, self.sizes = self.rows.to(device), self.sizes.to(device)

    def split_off(self, parts: list[Tensor], length: int) -> tuple[list[Tensor], list[Tensor]]:
        """Of all parts `(N, ...)` this run's first `(G, length, ...)`, and the rest."""
        count = len(self.sizes) * length
        own = [part[:count].unflatten(0, (-1, length)) for part in parts]
        return own, [part[count:] for part in parts]


def proportional_attention(
    scale: float, dropout: float, query: Tensor, key: Tensor, value: Tensor, sizes: Tensor
) -> Tensor:
    """Attention in which a token counts as often as it has patches (ToMe, section 3, eq. 1).

    `(G, n, heads, D)` each and sizes `(G, n)` of the keys -> `(G, n, heads * D)`.
    """
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    bias = sizes.log().to(query.dtype)[:, None, None]
    attended = F.scaled_dot_product_attention(
        query, key, value, bias, dropout_p=dropout, scale=scale
    )
    return attended.transpose(1, 2).flatten(2)
