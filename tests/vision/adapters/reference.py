"""The method as the paper tells it: plain loops over a model's own blocks, one item at a time."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ipcv import IPCV
from tests.vision.adapters.families import Item

RunBlock = Callable[[int, Tensor, Tensor], Tensor]
"""`(block, rows, their states) -> their states`, for rows that attend each other."""


def packed_runner(blocks: nn.ModuleList, arguments: dict) -> RunBlock:
    """Rows of one segment; `arguments` are those that the uncompressed model gave a block."""

    in_a_batch = arguments["hidden_states"].dim() == 3
    others = {"attention_mask": None} if "attention_mask" in arguments else {}

    def run(block: int, rows: Tensor, states: Tensor) -> Tensor:
        own = dict(others)
        if "position_embeddings" in arguments:
            cos, sin = arguments["position_embeddings"]
            own["position_embeddings"] = cos[rows], sin[rows]
        cu_seqlens = torch.tensor([0, len(rows)], dtype=torch.int32)
        output = blocks[block](states[None] if in_a_batch else states, cu_seqlens=cu_seqlens, **own)
        return output[0] if in_a_batch else output

    return run


def batched_runner(blocks: nn.ModuleList, arguments: dict) -> RunBlock:
    """Rows of one tile, without its padding and hence without a mask."""
    length = arguments["hidden_states"].shape[1]

    def run(block: int, rows: Tensor, states: Tensor) -> Tensor:
        own = {}
        if "attention_mask" in arguments:
            own["attention_mask"] = None
        if "position_mask" in arguments:
            own["position_mask"] = rows[None] % length
        if "freqs_ci" in arguments:
            own["freqs_ci"] = arguments["freqs_ci"][rows % length]
        if (rope := arguments.get("rope")) is not None:
            patches = rows % length - (length - len(rope))
            own["rope"] = rope[patches[patches >= 0]]
        if "position_ids" in arguments:  # of every row of every tile
            cos, sin = (x.flatten(0, 1) for x in arguments["position_embeddings"])
            own["position_embeddings"] = cos[None, rows], sin[None, rows]
            own["position_ids"] = arguments["position_ids"].flatten(0, 1)[None, rows]
        elif "position_embeddings" in arguments:  # of patches, which come last
            cos, sin = arguments["position_embeddings"]
            patches = rows % length - (length - len(cos))
            patches = patches[patches >= 0]
            own["position_embeddings"] = cos[patches], sin[patches]
        output = blocks[block](states[None], **own)
        return (output[0] if isinstance(output, tuple) else output)[0]

    return run


class PlainItem:
    """One item on its way through the blocks. Rows are numbered within the item from here on."""

    def __init__(self, item: Item, method: IPCV, run: RunBlock) -> None:
        self.item, self.method, self.run = item, method, run
        self.rows = torch.cat(item.groups)

    def outputs(self, states: Tensor, depth: int) -> list[Tensor]:
        """What every block gives for all rows, `(n, C)` each; removed rows rebuilt.

        `states` are those of the encoder's first block, of all items.
        """
        everything = list(range(len(self.rows)))
        prune, stabilize = self.method.prune_layer, self.method.stabilization_layers
        states = states[self.rows]
        outputs, before = [], torch.zeros_like(states)
        for block in range(prune):
            before, states = states, self.through(block, states, everything)
            outputs.append(states)
        self.pruned = states
        ranked = states if self.method.selector == "norm" else states - before
        self.kept = self.select(ranked.norm(dim=-1).tolist())
        self.neighbors = {i: self.nearest(i) for i in everything if i not in self.kept}
        current = states[self.kept]
        for block in range(prune, depth):
            if block < prune + stabilize:
                current = self.through(block, self.restore(current), everything)[self.kept]
            else:
                current = self.through(block, current, self.kept)
            outputs.append(self.restore(current))
        return outputs

    def through(self, block: int, states: Tensor, present: list[int]) -> Tensor:
        """Run a block on the rows `present`, segment by segment."""
        result = torch.empty_like(states)
        for segment in self.item.segments(block):
            inside = set(segment.tolist())
            places = [place for place, i in enumerate(present) if int(self.rows[i]) in inside]
            if places:
                rows = self.rows[[present[place] for place in places]]
                result[places] = self.run(block, rows, states[places])
        return result

    def select(self, scores: list[float]) -> list[int]:
        kept, first = [], 0
        for group in self.item.groups:
            patches = range(first + self.item.protected, first + len(group))
            budget = max(1, int(len(patches) * (1 - self.method.reduction_ratio)))
            kept += range(first, first + self.item.protected)
            kept += sorted(sorted(patches, key=lambda i: -scores[i])[:budget])
            first += len(group)
        return kept

    def nearest(self, i: int) -> list[int]:
        candidates = self.candidates(i)
        distances = {j: float((self.pruned[i] - self.pruned[j]).norm()) for j in candidates}
        return sorted(candidates, key=distances.__getitem__)[: self.method.num_neighbors]

    def candidates(self, i: int) -> list[int]:
        """Of the kept rows, in a long video, as many around a row's frame as three frames have."""
        frames, length = self.item.frames, len(self.rows) // self.item.frames
        if self.method.neighbor_scope == "item" or frames <= 3:
            return self.kept
        number = max(self.method.num_neighbors, -(-3 * len(self.kept) // frames))
        number = min(number, len(self.kept))
        before = sum(j < i // length * length + length // 2 for j in self.kept)
        first = min(max(before - number // 2, 0), len(self.kept) - number)
        return self.kept[first : first + number]

    def restore(self, current: Tensor) -> Tensor:
        """All rows from the kept ones."""
        result = torch.empty_like(self.pruned)
        result[self.kept] = current
        for i, neighbors in self.neighbors.items():
            result[i] = self.pruned[i]
            if self.method.reconstruction == "mean":
                change = [result[j] - self.pruned[j] for j in neighbors]
                result[i] += torch.stack(change).mean(0)
        return result
