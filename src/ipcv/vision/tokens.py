"""Tokens that get fewer from block to block: what the engine asks of a method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from ipcv.core.config import Config


class Tokens(NamedTuple):
    """`G` segments of `n` tokens at the start of a block.

    Attributes:
        states: `(G, n, C)` its input.
        normed: `(G, n, C)` the same behind its first norm.
        query, key, value: `(G, n, heads, D)`.
        plain_key: `(G, n, heads, D)` keys before rotary embedding.
    """

    states: Tensor
    normed: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    plain_key: Tensor


@dataclass
class Run(ABC):
    """Tokens of `G` consecutive attention segments of equal length, on their way.

    Attributes:
        lengths: rows of a segment, its tokens at the input of each block, and behind them all.
        protected: tokens at the start of a segment that all go on.
        rows: `(G, n)` the input row of each token, whose position it has.
        sizes: `(G, n)` fp32, patches per token.
    """

    lengths: tuple[int, ...]
    protected: int
    rows: Tensor
    sizes: Tensor

    def begin(self, states: Tensor) -> Tensor:
        """The tokens `(G, n, C)` for the first block, of its input `(G, lengths[0], C)`."""
        return states

    @abstractmethod
    def shrink(self, tokens: Tokens, r: int, scale: float) -> tuple[Tensor, Tensor]:
        """Go on with `r` tokens less per segment; `scale` is that of the attention.

        Returns:
            `(G, n - r, C)` the block's input, and `(G, n - r, heads * D)` its attention.
        """

    @abstractmethod
    def restore(self, tokens: Tensor) -> Tensor:
        """A state for every row, from the tokens left: `(G, n, C) -> (G, lengths[0], C)`."""

    def split_off(self, parts: list[Tensor], length: int) -> tuple[list[Tensor], list[Tensor]]:
        """Of all parts `(N, ...)` this run's first `(G, length, ...)`, and the rest."""
        count = len(self.sizes) * length
        own = [part[:count].unflatten(0, (-1, length)) for part in parts]
        return own, [part[count:] for part in parts]


class ProgressiveMethod(Config, ABC):
    """Settings of a method that takes tokens out in every block."""

    def removed_before(self, patches: int) -> int:
        """How many of so many patches of a segment are taken out before the first block."""
        return 0

    @abstractmethod
    def removed_per_block(self, patches: int, depth: int) -> list[int]:
        """How many of so many patches of a segment each of `depth` blocks takes out."""

    @abstractmethod
    def start(
        self,
        lengths: tuple[int, ...],
        protected: int,
        rows: Tensor,
        positions: Callable[[], Tensor],
    ) -> Run:
        """The run of all rows; `positions` gives `(N, 3)`: frame or tile, row and column."""


def proportional_attention(
    query: Tensor, key: Tensor, value: Tensor, sizes: Tensor, scale: float
) -> Tensor:
    """Attention in which a token counts as often as it has patches (ToMe, section 3, eq. 1).

    `(G, n, heads, D)` each and sizes `(G, n)` of the keys -> `(G, n, heads * D)`.
    """
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    bias = sizes.log().to(query.dtype)[:, None, None]
    attended = F.scaled_dot_product_attention(query, key, value, bias, scale=scale)
    return attended.transpose(1, 2).flatten(2)


def decreasing(amount: float, depth: int) -> list[int]:
    """So much in all over `depth` blocks, from twice the mean in the first to none in the last."""
    return [round(2 * amount / depth * (1 - block / max(1, depth - 1))) for block in range(depth)]
