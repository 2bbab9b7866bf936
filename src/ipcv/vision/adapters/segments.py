"""Attention of packed rows within segments: frames, windows, or whole images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ipcv.core import ops
from ipcv.core.memo import Memo
from ipcv.vision.adapters.base import configured_attention, is_flash, scaling

MOST_PADDING = 4
"""Up to how many times the products of queries and keys padding may cost."""

AttendFunction = Callable[..., tuple[Tensor, Tensor | None]]


@dataclass
class Segments(Memo):
    """Consecutive runs of packed rows; rows attend those of the same segment. Some may be empty.

    Attributes:
        cu_seqlens: `(S + 1,)` their boundaries, on the device.
        known_lengths: rows per segment, where the host knows them.
    """

    cu_seqlens: Tensor
    known_lengths: Sequence[int] | None = None

    @property
    def lengths(self) -> Sequence[int]:
        """Rows per segment. Waits for the device, once, unless the host knows them."""
        if self.known_lengths is None:
            self.known_lengths = self.cu_seqlens.diff().tolist()
        return self.known_lengths

    @property
    def width(self) -> int:
        """Rows of the longest segment."""
        return max(self.lengths)

    @property
    def are_equal(self) -> bool:
        """Whether all segments have as many rows."""
        return min(self.lengths) == self.width

    @property
    def places(self) -> Tensor:
        """`(rows,)`: where the rows are among the `S * width` once segments are padded."""
        device = self.cu_seqlens.device
        return self.once("places", compute=lambda: padded_places(self.lengths, device))

    def pad(self, rows: Tensor) -> Tensor:
        """`(rows, ...) -> (S, width, ...)`, with zeros."""
        if not self.are_equal:
            padded = rows.new_zeros(len(self.lengths) * self.width, *rows.shape[1:])
            rows = padded.index_copy_(0, self.places, rows)
        return rows.view(len(self.lengths), self.width, *rows.shape[1:])

    def unpad(self, padded: Tensor) -> Tensor:
        """The inverse of `pad`."""
        rows = padded.flatten(0, 1)
        return rows if self.are_equal else rows[self.places]

    def mask(self, dtype: torch.dtype, bias: Tensor | None = None) -> Tensor | None:
        """`(S, 1, 1, width)` to add to the products with padded keys; `None` where there are none.

        `bias (rows,)` is added, too.
        """
        shape = len(self.lengths), 1, 1, self.width
        if self.are_equal:
            return None if bias is None else bias.to(dtype).view(shape)
        hidden = torch.finfo(dtype).min
        mask = torch.full(shape, hidden, dtype=dtype, device=self.places.device)
        mask.view(-1)[self.places] = 0 if bias is None else bias.to(dtype)
        return mask


def padded_places(lengths: Sequence[int], device: torch.device) -> Tensor:
    """`(sum(lengths),)`: where the rows of runs are once all runs are as long as the longest."""
    width = max(lengths)
    places = [torch.arange(i * width, i * width + n) for i, n in enumerate(lengths)]
    return ops.upload(torch.cat(places), device)


def attend_segments(
    attention: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    queries: Segments,
    keys: Segments,
    max_seqlen: int | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Attention of packed `(rows, heads, D)` within segments: `(query rows, heads, D)`.

    `bias (key rows,)` is added to the products with each key. Flash attention takes segments as
    they are, of `max_seqlen` rows at most, and the bias as channels of its own.
    """
    attend: AttendFunction = configured_attention(attention)
    if not is_flash(attention):
        return attend_in_batches(attend, query, key, value, queries, keys, bias)
    if max_seqlen is None:
        max_seqlen = int(keys.cu_seqlens.diff().max())
    attend = partial(
        attend,
        cu_seq_lens_q=queries.cu_seqlens,
        cu_seq_lens_k=keys.cu_seqlens,
        max_length_q=max_seqlen,
        max_length_k=max_seqlen,
    )
    width = query.shape[-1]
    if bias is not None:
        query, key, value = biased(query, key, value, bias, scaling(attention))
    return _batch(attend, query[None], key[None], value[None]).flatten(0, 1)[..., :width]


def biased(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scaling: float
) -> tuple[Tensor, Tensor, Tensor]:
    """States whose scaled products have `bias (key rows,)` in them, for kernels that take none.

    `(rows, heads, D) -> (rows, heads, E)`, `E` the next multiple of 8 with room for two. Queries
    have ones there, and keys the bias, as it is rounded and what rounding leaves; the rest is 0.
    """
    width = query.shape[-1]
    padding = 0, 2 + (-width - 2) % 8
    query, key, value = (F.pad(states, padding) for states in (query, key, value))
    wanted = bias.float()[:, None] / scaling
    rounded = wanted.to(key.dtype)
    query[..., width : width + 2] = 1
    key[..., width] = rounded
    key[..., width + 1] = (wanted - rounded.float()).to(key.dtype)
    return query, key, value


def attend_in_batches(
    attend: AttendFunction,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    queries: Segments,
    keys: Segments,
    bias: Tensor | None = None,
) -> Tensor:
    """The same by an attention of batches `(B, heads, rows, D)`.

    Equal segments are one batch. Unequal ones take turns on a CPU, where that is faster; elsewhere
    they are padded to one batch, unless one is so long that most of it would be padding.
    """
    are_equal = queries.are_equal and keys.are_equal
    if are_equal or (query.device.type != "cpu" and _padding(queries, keys) <= MOST_PADDING):
        return attend_padded(attend, query, key, value, queries, keys, bias)
    return attend_in_turns(attend, query, key, value, queries, keys, bias)


def attend_padded(
    attend: AttendFunction,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    queries: Segments,
    keys: Segments,
    bias: Tensor | None = None,
) -> Tensor:
    """All segments at once."""
    states = queries.pad(query), keys.pad(key), keys.pad(value)
    return queries.unpad(_batch(attend, *states, mask=keys.mask(query.dtype, bias)))


def attend_in_turns(
    attend: AttendFunction,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    queries: Segments,
    keys: Segments,
    bias: Tensor | None = None,
) -> Tensor:
    """Segment by segment."""
    masks: Sequence[Tensor | None] = [None] * len(keys.lengths)
    if bias is not None:
        masks = bias.to(query.dtype)[None, None, None].split(list(keys.lengths), dim=3)
    segments = zip(
        query[None].split(list(queries.lengths), dim=1),
        key[None].split(list(keys.lengths), dim=1),
        value[None].split(list(keys.lengths), dim=1),
        masks,
        strict=True,
    )
    return torch.cat([_batch(attend, *parts)[0] for parts in segments if parts[0].shape[1]])


def _batch(
    attend: AttendFunction, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> Tensor:
    """`(B, rows, heads, D)` each, whose heads attention implementations want in front."""
    return attend(*(x.transpose(1, 2) for x in (query, key, value)), mask)[0]


def _padding(queries: Segments, keys: Segments) -> float:
    """How many times the products of queries and keys there are with padding."""
    needed = sum(q * k for q, k in zip(queries.lengths, keys.lengths, strict=True))
    return len(queries.lengths) * queries.width * keys.width / needed
