"""Progressive pruning with one thing changed, to see what it is good for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ipcv import Progressive
from ipcv.baselines.tome import MergingRun, ToMe
from ipcv.progressive.method import PruningRun
from ipcv.progressive.run import Run, Tokens


class ByKeys(PruningRun):
    """Counterparts by the cosine of keys alone."""

    @staticmethod
    def features(tokens: Tokens) -> Tensor:  # noqa: D102
        return tokens.plain_key.mean(2)


class ByFeatures(PruningRun):
    """Counterparts by the cosine of normed features alone."""

    @staticmethod
    def features(tokens: Tokens) -> Tensor:  # noqa: D102
        return tokens.normed


class Uncounted(PruningRun):
    """A kept patch counts once in attention, whatever it stands for."""

    def shrink(self, tokens: Tokens, r: int, scale: float) -> tuple[Tensor, Tensor]:  # noqa: D102
        result = super().shrink(tokens, r, scale)
        self.sizes = torch.ones_like(self.sizes)
        return result


class Averaged(MergingRun):
    """Counterparts are averaged and copied back, as in Token Merging, but found as here."""

    def shrink(self, tokens: Tokens, r: int, scale: float) -> tuple[Tensor, Tensor]:  # noqa: D102
        heads = PruningRun.features(tokens)[:, :, None]
        return super().shrink(tokens._replace(plain_key=heads), r, scale)


@dataclass(frozen=True)
class WithRun(Progressive):
    """Progressive pruning with another run."""

    run: type[PruningRun] = PruningRun

    def start(  # noqa: D102
        self,
        lengths: tuple[int, ...],
        protected: int,
        rows: Tensor,
        positions: Callable[[], Tensor],
    ) -> Run:
        sizes = torch.ones(rows.shape, device=rows.device)
        return self.run(lengths, protected, rows, sizes, self, positions)


@dataclass(frozen=True)
class WithAverages(ToMe):
    """Token Merging with the counterparts of progressive pruning."""

    def start(  # noqa: D102
        self,
        lengths: tuple[int, ...],
        protected: int,
        rows: Tensor,
        positions: Callable[[], Tensor],
    ) -> Run:
        run = super().start(lengths, protected, rows, positions)
        assert isinstance(run, MergingRun)
        return Averaged(run.lengths, run.protected, run.rows, run.sizes, run.source)


@dataclass(frozen=True)
class InBlocks(Progressive):
    """The same number of patches in each of these blocks, instead of ever fewer in all."""

    blocks: tuple[int, ...] = ()

    def removed_per_block(self, patches: int, depth: int) -> list[int]:  # noqa: D102
        each = round(self.reduction_ratio * patches / len(self.blocks))
        return [each if block in self.blocks else 0 for block in range(depth)]


def ablations(depth: int) -> dict[str, Progressive | ToMe]:
    """By name; all at about the FLOPs of `Progressive(0.8)`, of an encoder of that depth."""
    whole = Progressive(0.8)
    return {
        "averaged and copied back": WithAverages(0.8 / depth, "decreasing"),
        "not counted in attention": WithRun(0.8, run=Uncounted),
        "counterparts by keys": WithRun(0.8, run=ByKeys),
        "counterparts by features": WithRun(0.8, run=ByFeatures),
        **{
            f"rebuilt by {name}": replace(whole, reconstruction=name)
            for name in ("linear", "mean", "nearest", "none")
        },
        "10 neighbours": replace(whole, num_neighbors=10),
        "equally many in all blocks": InBlocks(0.9, blocks=tuple(range(depth))),
        "in blocks 1 and 3": InBlocks(0.7, blocks=(1, 3)),
        "in blocks 1 to 4": InBlocks(0.72, blocks=(1, 2, 3, 4)),
    }
