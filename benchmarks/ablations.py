"""Progressive pruning with one thing changed, to see what it is good for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ipcv import Progressive
from ipcv.vision.progressive import PruningRun
from ipcv.vision.tokens import Attend, TokenRun, Tokens


class ByFeatures(PruningRun):
    """Counterparts by the cosine of normed features."""

    def shrink(self, tokens: Tokens, r: int, attend: Attend) -> tuple[Tensor, Tensor]:  # noqa: D102
        return super().shrink(tokens._replace(plain_key=tokens.normed[:, :, None]), r, attend)


class ByBoth(PruningRun):
    """Counterparts by the mean of both cosines."""

    def shrink(self, tokens: Tokens, r: int, attend: Attend) -> tuple[Tensor, Tensor]:  # noqa: D102
        parts = tokens.plain_key.mean(2), tokens.normed
        both = torch.cat([F.normalize(part.float(), dim=-1) for part in parts], dim=-1)
        return super().shrink(tokens._replace(plain_key=both[:, :, None]), r, attend)


class Uncounted(PruningRun):
    """A kept patch counts once in attention, whatever it stands for."""

    def _weights(self, keys: Tensor, kept: Tensor, destination: Tensor) -> Tensor:
        return torch.zeros_like(self.sizes).scatter_(1, kept, 1.0)


class FullyCounted(PruningRun):
    """A kept patch counts for all it stands for, however unlike."""

    def _weights(self, keys: Tensor, kept: Tensor, destination: Tensor) -> Tensor:
        return torch.ones_like(self.sizes)


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
    ) -> TokenRun:
        return self.run(**vars(super().start(lengths, protected, rows, positions)))


@dataclass(frozen=True)
class InBlocks(Progressive):
    """The same number of patches in each of these blocks, instead of ever fewer in all."""

    blocks: tuple[int, ...] = ()

    def removed_per_block(self, patches: int, depth: int) -> list[int]:  # noqa: D102
        each = round(self.reduction_ratio * patches / len(self.blocks))
        return [each if block in self.blocks else 0 for block in range(depth)]


def ablations(depth: int) -> dict[str, Progressive]:
    """By name; all at about the FLOPs of `Progressive(0.8)`, of an encoder of that depth."""
    whole = Progressive(0.8)
    return {
        "not counted in attention": WithRun(0.8, run=Uncounted),
        "counted, however unlike": WithRun(0.8, run=FullyCounted),
        "counterparts by features": WithRun(0.8, run=ByFeatures),
        "counterparts by both": WithRun(0.8, run=ByBoth),
        **{f"rebuilt by {name}": replace(whole, reconstruction=name) for name in ("mean", "none")},
        "nothing before the first block": replace(whole, smooth_share=0),
        "more before the first block": replace(whole, smooth_share=0.62),
        "10 neighbours": replace(whole, num_neighbors=10),
        "equally many in all blocks": InBlocks(0.9, smooth_share=0, blocks=tuple(range(depth))),
        "in blocks 1 and 3": InBlocks(0.7, smooth_share=0, blocks=(1, 3)),
        "in blocks 1 to 4": InBlocks(0.72, smooth_share=0, blocks=(1, 2, 3, 4)),
    }
