"""Predictive coding: units go that an earlier unit predicts, and return as its copies."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from ipcv.core import ops
from ipcv.core.config import require_fraction
from ipcv.vision.cells import BITS, SIDE, cell_numbers
from ipcv.vision.layout import Layout
from ipcv.vision.neighbors import Neighbors, Reconstruction
from ipcv.vision.one_step import OneStepMethod
from ipcv.vision.selection import Choice, Selection, Step

UNIT = SIDE**2
"""Patches of a whole unit: a cell of 2 x 2, of which mergers make one token."""


class PredictiveMethod(OneStepMethod):
    """Settings of a method that leaves out, before the first block, what is predicted best.

    Whole units go. A removed patch returns behind the last block as a copy of the patch, at the
    same place of its unit, that predicts it, or that predicts that one, and so on.

    Attributes:
        shifts: how many frames, rows and columns before a patch those are that may predict it.
    """

    shifts: ClassVar[tuple[tuple[int, int, int], ...]]

    def __post_init__(self) -> None:
        require_fraction("reduction_ratio", self.reduction_ratio)

    @abstractmethod
    def unpredicted(self, patches: int, frames: int) -> int:
        """How many of the patches of a group nothing can predict, at most."""

    def choose(self, previous: Tensor, rows: Tensor, layout: Layout) -> Choice:
        """Of every group the units whose prediction errs most; all that nothing predicts."""
        frames = layout.frames or (1,) * len(layout.group_lengths)
        counts = []
        for length, number in zip(layout.filled_lengths, frames, strict=True):
            patches = length - layout.protected
            units = ops.keep_count(-(-patches // UNIT), self.reduction_ratio)
            kept = max(UNIT * units, self.unpredicted(patches, number))
            counts.append(min(length, layout.protected + kept))
        return Choice.highest(self.scores(previous, rows, layout), layout, counts)

    def scores(self, previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
        """The place of each patch's unit, by the error of its prediction; no two have the same."""
        error, _ = self.predicted(rows, layout)
        unit = _units(layout)
        start = _group_starts(layout, rows.device)
        evenly = ((unit - start) * ops.SPREAD % 2**32).argsort(stable=True)
        order = evenly[error[evenly].argsort(stable=True)]
        place = torch.empty_like(error)
        place[order] = torch.arange(len(order), device=order.device, dtype=place.dtype)
        return place[unit]

    def predicted(self, rows: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """How far each unit's best prediction is off, and by which rows it is.

        Args:
            rows: `(N, C)`.
            layout: which of them belong together.

        Returns:
            `(N,)` fp32, the largest Euclidean distance within the unit, infinite where nothing
            predicts it; and `(N,)` int64, the first row of a patch's group likewise.
        """
        numbers = _place_numbers(layout)
        unit = _units(layout)
        best = rows.new_full((len(rows),), torch.inf, dtype=torch.float32)
        source = _group_starts(layout, rows.device)
        for frame, y, x in self.shifts:
            wanted = numbers - ((frame << 2 * BITS) + (y << BITS) + x)
            earlier, is_there = _find(numbers, wanted)
            error = ops.norms(rows - rows[earlier])
            most = torch.finfo(error.dtype).max  # of rows that are not finite: less than infinite
            error = error.nan_to_num_(nan=most, posinf=most)
            error = error.masked_fill_(~is_there | (numbers < 0), torch.inf)
            error = torch.zeros_like(error).scatter_reduce_(0, unit, error, "amax")[unit]
            source = torch.where(error < best, earlier, source)
            best = torch.minimum(best, error)
        return best, source

    def select(self, choice: Choice, rows: Tensor) -> Selection:
        """The others are copies."""
        layout, counts, kept, removed = choice
        _, source = self.predicted(rows, layout)
        source[kept] = kept
        for _ in range(max(layout.group_lengths).bit_length()):  # predictions of predictions
            source = source[source]
        number = torch.zeros_like(source).index_fill_(0, kept, 1).cumsum(0) - 1
        copied = number[source[removed]].clamp(min=0)
        states = rows[kept]
        copies = Reconstruction(states[copied], states, Neighbors(copied[:, None]))
        return Selection(layout, counts, kept, (Step(kept, removed, copies),))


def _units(layout: Layout) -> Tensor:
    """`(N,)` int64: the first row of each row's unit; protected rows of a group share one."""
    number = cell_numbers(layout.positions())
    if layout.protected:
        number.view(len(layout.group_lengths), -1)[:, : layout.protected] = 0
    number += _groups(layout, number.device) << 3 * BITS
    return _find(number, number)[0]


def _groups(layout: Layout, device: torch.device) -> Tensor:
    """`(N,)` int64: the number of each row's group."""
    lengths = ops.upload(layout.group_lengths, device)
    number = torch.arange(len(lengths), device=device)
    return number.repeat_interleave(lengths, output_size=sum(layout.group_lengths))


def _group_starts(layout: Layout, device: torch.device) -> Tensor:
    """`(N,)` int64: the first row of each row's group."""
    lengths = ops.upload(layout.group_lengths, device)
    return (lengths.cumsum(0) - lengths)[_groups(layout, device)]


def _place_numbers(layout: Layout) -> Tensor:
    """`(N,)` int64: a number for each place of a patch; negative ones for other rows."""
    frame, y, x = layout.positions().unbind(-1)
    group = _groups(layout, frame.device) + 1
    number = (group << 3 * BITS) + (frame << 2 * BITS) + (y << BITS) + x
    is_patch = layout.rank(torch.zeros_like(number, dtype=torch.float32)).isfinite()
    return torch.where(is_patch, number, -1 - torch.arange(len(number), device=number.device))


def _find(numbers: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """`(N,)`, `(M,)` int64 -> `(M,)` where each number is first, and `(M,)` whether it is there."""
    ascending, order = numbers.sort(stable=True)
    place = torch.searchsorted(ascending, wanted).clamp_(max=len(numbers) - 1)
    return order[place], ascending[place] == wanted
