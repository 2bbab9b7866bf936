"""Which tokens of a prefill belong to images, as host integers, before and after pruning."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Run:
    """A contiguous run of image or video tokens in one row: what keeps its own share.

    Attributes:
        row: its row in the batch.
        start: its first token's column among the tokens that layers now carry.
        length: its tokens.
        ordinal: how many runs come before it in the same row.
        text_after: text tokens of the row that come after it.
    """

    row: int
    start: int
    length: int
    ordinal: int
    text_after: int


@dataclass(frozen=True)
class Layout:
    """The tokens that layers carry: `width` columns, of which a row uses some.

    Attributes:
        width: columns, the same for every row.
        real: per row, the columns that hold a token (and not padding).
        runs: the images, row by row, from left to right.
        tail: text tokens that every row has at its right end.
    """

    width: int
    real: tuple[int, ...]
    runs: tuple[Run, ...]
    tail: int

    @classmethod
    def of(cls, input_ids: Tensor, visual_ids: Collection[int], valid: Tensor | None) -> Layout:
        """Find the runs. Waits for the device once.

        Args:
            input_ids: `(B, L)`.
            visual_ids: ids of the placeholder tokens; each id makes its own runs.
            valid: `(B, L)`, zero at padding; `None` where there is none.
        """
        kind = torch.zeros_like(input_ids)
        for number, visual_id in enumerate(visual_ids, start=1):
            kind = kind.masked_fill(input_ids == visual_id, number)
        if valid is not None:
            kind = kind.masked_fill(valid == 0, -1)
        rows = kind.cpu()
        runs = [run for row, kinds in enumerate(rows) for run in _runs(row, kinds)]
        is_text = rows == 0
        tail = (~is_text).flip(1).int().argmax(dim=1)  # 0 where there is no other token
        tail = torch.where(is_text.all(dim=1), is_text.shape[1], tail)
        real = (rows >= 0).sum(dim=1).tolist()
        return cls(input_ids.shape[1], tuple(real), tuple(runs), int(tail.min()))

    def pruned(self, counts: Sequence[int]) -> Layout:
        """The layout where run `i` keeps `counts[i]` tokens and rows are aligned at the right."""
        real = list(self.real)
        for run, count in zip(self.runs, counts, strict=True):
            real[run.row] -= run.length - count
        width, runs = max(real), []
        after = [0] * len(real)  # image tokens that come after, from right to left
        for run, count in reversed(list(zip(self.runs, counts, strict=True))):
            start = width - run.text_after - after[run.row] - count
            after[run.row] += count
            runs.append(replace(run, start=start, length=count))
        return Layout(width, tuple(real), tuple(reversed(runs)), self.tail)

    @property
    def is_ragged(self) -> bool:
        """Whether some row has columns that hold no token."""
        return min(self.real) < self.width


def _runs(row: int, kinds: Tensor) -> list[Run]:
    """The runs of one row of kinds `(L,)`: 0 text, -1 padding, else an image or video token."""
    edges = (kinds.diff().nonzero().flatten() + 1).tolist()
    starts = [0, *edges]
    lengths = torch.tensor([*edges, len(kinds)]) - torch.tensor(starts)
    text = (kinds == 0).flip(0).cumsum(0).flip(0).tolist()
    runs: list[Run] = []
    for start, length in zip(starts, lengths.tolist(), strict=True):
        if kinds[start] > 0:
            runs.append(Run(row, start, length, len(runs), text[start]))
    return runs
