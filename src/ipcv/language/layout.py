"""The places of image tokens in a prefill, as host integers, before and after pruning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

TEXT, PADDING = 0, -1


@dataclass(frozen=True)
class ImageRun:
    """An unbroken run of image or video tokens in one row: what keeps its own share.

    Attributes:
        row: its row in the batch.
        kind: the number of its kind of token.
        start: its first token's column among the tokens that layers now carry.
        length: its tokens that layers now carry.
        full_length: its tokens in the prompt.
        ordinal: how many runs come before it in the same row.
        text_after: text tokens of the row's prompt that come after it.
    """

    row: int
    kind: int
    start: int
    length: int
    full_length: int
    ordinal: int
    text_after: int


@dataclass(frozen=True)
class PromptLayout:
    """The tokens that layers carry: `width` columns, of which a row uses some.

    Attributes:
        width: columns, the same for every row.
        real: per row, how many columns hold a token and not padding.
        last: per row, the column of the last token of the prompt.
        runs: the images, row by row, from left to right.
        tail: text tokens that every row has at its right end.
        drafts: how many of those are not the prompt's, but an answer that is being verified.
    """

    width: int
    real: tuple[int, ...]
    last: tuple[int, ...]
    runs: tuple[ImageRun, ...]
    tail: int
    drafts: int

    @classmethod
    def of(
        cls, kinds: Tensor, drafts: int = 0, tokens_per_image: int | None = None
    ) -> PromptLayout:
        """Find the runs.

        Args:
            kinds: `(B, L)` on the CPU: `TEXT`, `PADDING`, or a number per kind of image token.
            drafts: as the attribute.
            tokens_per_image: where known, what tells images apart that have no text in between.
        """
        length, is_real = kinds.shape[1], kinds != PADDING
        tail = min(_leading(row.flip(0) == TEXT) for row in kinds)
        drafts = min(drafts, tail)
        prompt = kinds[:, : length - drafts]
        runs = [run for row, k in enumerate(prompt) for run in _runs(row, k, tokens_per_image)]
        last = [max(0, length - 1 - _leading(~row.flip(0)) - drafts) for row in is_real]
        real = is_real.sum(dim=1).tolist()
        return cls(length, tuple(real), tuple(last), tuple(runs), tail, drafts)

    def pruned(self, counts: Sequence[int]) -> PromptLayout:
        """The layout where run `i` keeps `counts[i]` tokens and rows are aligned at the right."""
        real = list(self.real)
        for run, count in zip(self.runs, counts, strict=True):
            real[run.row] -= run.length - count
        width = max(real)
        images_after = [0] * len(real)
        runs: list[ImageRun] = []
        for run, count in reversed(list(zip(self.runs, counts, strict=True))):
            images_after[run.row] += count
            start = width - self.drafts - run.text_after - images_after[run.row]
            runs.insert(0, replace(run, start=start, length=count))
        last = (width - 1 - self.drafts,) * len(real)
        return replace(self, width=width, real=tuple(real), last=last, runs=tuple(runs))

    def first(self, row: int) -> int:
        """The column of the row's first token."""
        return self.last[row] + self.drafts + 1 - self.real[row]

    @property
    def is_ragged(self) -> bool:
        """Whether some row has columns that hold no token."""
        return min(self.real) < self.width

    def image_positions(self) -> Tensor:
        """`(N,)` the image tokens, run after run, as positions in the `B * width` tokens."""
        ranges = [torch.arange(run.length) + run.row * self.width + run.start for run in self.runs]
        return torch.cat(ranges)

    def encoder_tokens(self, num_tokens: int) -> Tensor:
        """`(N,)` for each image token, which of the encoder's `num_tokens` it is.

        The encoder makes all images, then all videos. `generate` may have repeated each row, for
        beams or several answers, behind the encoder.

        Raises:
            RuntimeError: the numbers do not fit.
        """
        repeats, rest = divmod(sum(run.length for run in self.runs), num_tokens)
        if rest or not repeats:
            raise RuntimeError(
                f"the prompt does not hold the {num_tokens} visual tokens that are expected of "
                "what went through the vision encoder"
            )
        starts: dict[tuple[int, int], int] = {}
        total = 0
        for run in sorted(self.runs, key=lambda run: run.kind):
            if run.row % repeats == 0:
                starts[run.row, run.ordinal] = total
                total += run.length
        return torch.cat(
            [
                torch.arange(run.length) + starts[run.row - run.row % repeats, run.ordinal]
                for run in self.runs
            ]
        )


def _runs(row: int, kinds: Tensor, tokens_per_image: int | None) -> list[ImageRun]:
    edges = (kinds.diff().nonzero().flatten() + 1).tolist()
    text = (kinds == TEXT).flip(0).cumsum(0).flip(0).tolist()
    runs: list[ImageRun] = []
    for start, stop in pairwise([0, *edges, len(kinds)]):
        if kinds[start] <= 0:
            continue
        length = stop - start
        share = tokens_per_image if tokens_per_image and length % tokens_per_image == 0 else length
        for first in range(start, stop, share):
            runs.append(
                ImageRun(row, int(kinds[start]), first, share, share, len(runs), text[start])
            )
    return runs


def _leading(flags: Tensor) -> int:
    """How many of the flags `(L,)` are true before the first false one."""
    return int(flags.int().cumprod(0).sum())
