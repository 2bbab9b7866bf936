"""The method as the paper tells it: plain loops over a model's own blocks, one item at a time."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ipcv import IPCV
from tests.encoders.families import Item

RunBlock = Callable[[int, Tensor, Tensor], Tensor]
"""`(block, rows, their states) -> their states`, for rows that attend each other."""


def packed_runner(blocks: nn.ModuleList, arguments: dict) -> RunBlock:
    """Rows of one segment; `arguments` are those that the uncompressed model gave a block."""

    def run(block: int, rows: Tensor, states: Tensor) -> Tensor:
        cos, sin = arguments["position_embeddings"]
        return blocks[block](
            states,
            cu_seqlens=torch.tensor([0, len(rows)], dtype=torch.int32),
            position_embeddings=(cos[rows], sin[rows]),
        )

    return run


def batched_runner(blocks: nn.ModuleList, arguments: dict) -> RunBlock:
    """Rows of one tile, without its padding and hence without a mask."""
    mask = {"attention_mask": None} if "attention_mask" in arguments else {}

    def run(block: int, rows: Tensor, states: Tensor) -> Tensor:
        return blocks[block](states[None], **mask)[0]

    return run


def compress_item(item: Item, states: Tensor, depth: int, method: IPCV, run: RunBlock) -> list:
    """What every block gives for the rows of an item, `(n, C)` each; removed rows rebuilt."""
    rows = torch.cat(item.groups)
    row_of = {int(row): i for i, row in enumerate(rows)}
    states = states[rows]

    def through(block: int, states: Tensor, present: list[int]) -> Tensor:
        """Run a block on the rows `present` (positions in the item), segment by segment."""
        result = torch.empty_like(states)
        for segment in item.segments(block):
            inside = {row_of[int(row)] for row in segment}
            places = [place for place, i in enumerate(present) if i in inside]
            if places:
                mine = rows[[present[place] for place in places]]
                result[places] = run(block, mine, states[places])
        return result

    everything = list(range(len(rows)))
    outputs = []
    for block in range(method.prune_layer):
        before, states = states, through(block, states, everything)
        outputs.append(states)

    scores = (states - before).norm(dim=-1)
    kept: list[int] = []
    first = 0
    for group in item.groups:
        fixed = list(range(first, first + item.protected))
        patches = list(range(first + item.protected, first + len(group)))
        budget = max(1, int(len(patches) * (1 - method.reduction_ratio)))
        best = sorted(patches, key=lambda i: -float(scores[i]))[:budget]
        kept += fixed + sorted(best)
        first += len(group)

    pruned = states
    neighbors = {}
    for i in set(everything) - set(kept):
        distance = {j: float((pruned[i] - pruned[j]).norm()) for j in kept}
        neighbors[i] = sorted(kept, key=distance.get)[: method.num_neighbors]

    def restore(current: Tensor) -> Tensor:
        """`current`: one row per kept row."""
        now = dict(zip(kept, current, strict=True))
        return torch.stack(
            [
                now[i]
                if i in now
                else pruned[i] + torch.stack([now[j] - pruned[j] for j in neighbors[i]]).mean(0)
                for i in everything
            ]
        )

    current = pruned[kept]
    for block in range(method.prune_layer, depth):
        if block < method.prune_layer + method.stabilization_layers:
            current = through(block, restore(current), everything)[kept]
        else:
            current = through(block, current, kept)
        outputs.append(restore(current))
    return outputs
