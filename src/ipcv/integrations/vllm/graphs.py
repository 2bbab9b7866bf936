"""Stretches of blocks as CUDA graphs, for a few numbers of packed rows."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from vllm.platforms import current_platform

from ipcv.core.arguments import Arguments, bind
from ipcv.core.hooks import Hooks, Method
from ipcv.integrations.vllm.innermost import replaced
from ipcv.integrations.vllm.tower import Tower
from ipcv.vision.adapters.segments import Segments
from ipcv.vision.pruning import PruningEngine

MOST_ROWS = 4096
"""With more rows the device has work enough, and blocks run as they are."""
WARM_UP = 3
BOUNDARIES, MAX_SEQLEN, BIAS = "cu_seqlens", "max_seqlen", "bias"


class Stretch(NamedTuple):
    """Blocks that run on the same rows, with the same arguments.

    Attributes:
        first: the index of the first one.
        blocks: their methods.
        attentions: their attention modules.
    """

    first: int
    blocks: list[Method]
    attentions: list[Any]

    def run(self, states: Tensor, arguments: Arguments) -> Tensor:
        """What the last block returns."""
        for block in self.blocks:
            states = block(states, **arguments)
        return states


class Graphs:
    """Runs the blocks between two steps of an engine at once, as a graph that is captured once.

    Steps stay outside, and so do blocks in which kept rows ask all. Rows are filled up to a bucket;
    what fills them is an attention segment of its own, which no other row attends. On a CPU, which
    has no graphs, blocks run on the same rows.

    Args:
        engine: not attached yet.
        tower: its adapter, of packed rows.

    Attributes:
        captured: the graphs that are there by now.

    Raises:
        ValueError: the encoder's attention waits for the device, which no graph can.
    """

    def __init__(self, engine: PruningEngine[Any], tower: Tower) -> None:
        self.engine, self.tower = engine, tower
        self.captures = not current_platform.is_cpu()
        if self.captures and tower.asking != "flash":
            raise ValueError(
                "ipcv encoder_graphs needs attention flash, and a vision encoder that attends with "
                f"FLASH_ATTN: these are {tower.asking} and {tower.backend.name}"
            )
        self._hooks = Hooks()
        self._buffers: dict[tuple[int, int, bool], Arguments] = {}
        self.captured: dict[tuple[object, ...], torch.cuda.CUDAGraph] = {}

    def attach(self) -> None:
        """Replace the blocks' methods; the engine goes on top."""
        for indices in stretches(self.engine, self.tower):
            first, *others = modules = [self.tower.blocks[index] for index in indices]
            attentions = [self.tower.attention(block) for block in modules]
            stretch = Stretch(indices.start, [block.forward for block in modules], attentions)
            self._replace(first, partial(self._run, stretch))
            for block in others:
                self._replace(block, _passed)

    def detach(self) -> None:
        """Leave the blocks as they were found, the engine being gone."""
        self._hooks.remove()

    def _replace(self, block: Any, run: Callable[[Tensor, Arguments], Tensor]) -> None:
        def make(original: Method) -> Method:
            signature = inspect.signature(original)

            def forward(*args: Any, **kwargs: Any) -> Tensor:
                arguments = bind(signature, args, kwargs)
                return run(arguments.pop(self.tower.states_name), arguments)

            return forward

        self._hooks.replace(block, "forward", make)

    def _run(self, stretch: Stretch, states: Tensor, arguments: Arguments) -> Tensor:
        """What the last block of a stretch returns for these rows alone."""
        rows = self.tower.rows(states)
        if len(rows) > MOST_ROWS:
            return stretch.run(states, arguments)
        with self.engine.at_rest() as selection:
            bias = None if selection is None else selection.bias
            given = arguments | {self.tower.states_name: rows, BIAS: bias}
            # Boundaries are one more than segments, and so are these with what fills up.
            size = bucket(len(rows)), bucket(len(arguments[BOUNDARIES])), bias is not None
            buffers = self._buffers.get(size) or allocated(given, *size[:2])
            self._buffers[size] = buffers
            write(given, buffers, size[0])
            output: Tensor = buffers[self.tower.states_name]
            call = partial(self._filled, stretch, states, buffers)
            if self.captures:
                self._replay((stretch.first, *size), call, output)
            else:
                output.copy_(call())
        return self.tower.like(output[: len(rows)].clone(), states)

    def _filled(self, stretch: Stretch, states: Tensor, buffers: Arguments) -> Tensor:
        """Rows that a stretch makes of what the buffers hold, in which `states` have no part."""
        arguments = dict(buffers)
        rows, bias = arguments.pop(self.tower.states_name), arguments.pop(BIAS)
        segments = Segments(arguments[BOUNDARIES])
        with ExitStack() as stack:
            for attention in () if bias is None else stretch.attentions:
                count = partial(self.tower.count, attention.attn, segments, bias, None)
                stack.enter_context(replaced(attention, count))
            return self.tower.rows(stretch.run(self.tower.like(rows, states), arguments))

    def _replay(self, key: tuple[object, ...], call: Callable[[], Tensor], output: Tensor) -> None:
        """Write into the output what a call returns, by a graph of it that is made only once."""
        if key not in self.captured:
            self.captured[key] = capture(call, output, next(iter(self.captured.values()), None))
        self.captured[key].replay()


def capture(
    call: Callable[[], Tensor], output: Tensor, other: torch.cuda.CUDAGraph | None
) -> torch.cuda.CUDAGraph:
    """A graph that writes into the output what a call returns.

    It shares its memory with another one, for nothing in there outlives a replay.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph, pool = torch.cuda.CUDAGraph(), None if other is None else other.pool()
    with torch.cuda.graph(graph, pool, capture_error_mode="thread_local"):
        output.copy_(call())
    return graph


def stretches(engine: PruningEngine[Any], tower: Tower) -> list[range]:
    """Where nothing happens between blocks, nor in them but that rows count by their sizes."""
    depth = len(tower.blocks)
    apart = {index for index in range(depth) if engine.asks_all(index)}
    starts = engine.steps | tower.breaks | apart | {index + 1 for index in apart}
    inner = sorted(index for index in starts if 0 < index < depth)
    return [range(*both) for both in pairwise([0, *inner, depth]) if both[0] not in apart]


def bucket(number: int) -> int:
    """The next quarter of a power of two: ..., 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, ..."""
    quarter = 1 << max(3, (number - 1).bit_length()) - 3
    return -(-number // quarter) * quarter


def allocated(given: Arguments, length: int, segments: int) -> Arguments:
    """Room for a block's arguments, of so many rows and segments; what is no tensor stays."""

    def room(name: str, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if name == MAX_SEQLEN:  # the host reads it
            return torch.tensor(length, dtype=value.dtype, device="cpu")
        return value.new_empty(segments + 1 if name == BOUNDARIES else length, *value.shape[1:])

    return {name: room(name, value) for name, value in given.items()}


def write(given: Arguments, buffers: Arguments, length: int) -> None:
    """Put a block's arguments there, then zeros, and boundaries of what else is there.

    All rows that fill up are in one segment; those behind it are empty.
    """
    for name, value in given.items():
        if isinstance(value, Tensor) and name != MAX_SEQLEN:
            buffers[name][: len(value)] = value
            buffers[name][len(value) :] = length if name == BOUNDARIES else 0


def _passed(states: Tensor, arguments: Arguments) -> Tensor:
    """What has been through all blocks of its stretch already."""
    return states
