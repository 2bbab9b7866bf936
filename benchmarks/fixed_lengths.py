"""The blocks behind the first pruned one at fixed lengths: eager, as a CUDA graph, compiled.

    python benchmarks/fixed_lengths.py graphs.json --device cuda --dtype bfloat16

Encoders of real dimensions, 8 blocks deep by default, for compiling takes seconds per block. The
blocks run again and again inside of one call of the encoder. Uncompressed blocks are those of the
same numbers; packed ones wait for the device, and can be no graph. On a CPU there are no graphs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cases import ALL_CASES, full_depth, make_encoder, published_settings
from ipcv.bench.clock import timed
from ipcv.bench.cost.shapes import DIMENSIONS
from ipcv.bench.variants import UNCOMPRESSED, Variant
from ipcv.core.hooks import states_of
from ipcv.core.output import write_json
from ipcv.families import adapter_for
from ipcv.inputs.loading import torch_device
from ipcv.vision.adapters.packed import PackedEncoder

Call = Callable[[], Tensor]
REPETITIONS = 20
WARM_UP = 3


@contextmanager
def at_block(block: nn.Module, act: Callable[[Tensor, dict[str, Any]], None]) -> Iterator[None]:
    """Act once, before a block, on what the encoder gives it."""

    def before(_: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> None:
        hook.remove()
        given = dict(kwargs)
        states = args[0] if args else given.pop("hidden_states")
        act(states, given)

    hook = block.register_forward_pre_hook(before, with_kwargs=True, prepend=True)
    try:
        yield
    finally:
        hook.remove()


def captured(call: Call) -> Call:
    """The same as a CUDA graph: its input and output stay where they are."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = call()

    def replay() -> Tensor:
        graph.replay()
        return output

    return replay


@contextmanager
def compiled(blocks: list[Any], backend: str) -> Iterator[None]:
    """Blocks are compiled, one graph of operators each."""
    torch._dynamo.reset()
    try:
        for block in blocks:
            block.compile(backend=backend)
        yield
    finally:
        for block in blocks:
            block._compiled_call_impl = None


class Chain:
    """The last blocks of an encoder, one after the other, in every way that is measured.

    Args:
        encoder: in eval mode.
        blocks: its last ones.
        options: the command line's.
    """

    def __init__(self, encoder: Any, blocks: list[nn.Module], options: argparse.Namespace) -> None:
        self.encoder, self.blocks, self.options = encoder, blocks, options
        self.ms: dict[str, list[float]] = {}
        self.differences: dict[str, float] = {}

    def measure(self, variant: Variant, is_compiled: bool) -> dict[str, Any]:
        """Milliseconds, and by how much outputs differ from those of plain blocks."""
        packed = isinstance(adapter_for(self.encoder), PackedEncoder)
        waits = packed and variant.vision is None

        def act(states: Tensor, given: dict[str, Any]) -> None:
            def call() -> Tensor:
                output = states
                for block in self.blocks:
                    output = states_of(block(output, **given))
                return output

            expected = call()
            backend = self.options.backend
            with compiled(self.blocks, backend) if is_compiled else nullcontext():
                self.time("call", call, expected)
                if states.is_cuda and not waits:
                    self.time("graph", captured(call), expected)

        inputs = ALL_CASES[self.options.case].inputs(self.encoder)
        with torch.inference_mode(), variant.applied(self.encoder), at_block(self.blocks[0], act):
            self.encoder(**inputs)
        return {"blocks": len(self.blocks), "ms": self.ms, "difference": self.differences}

    def time(self, way: str, call: Call, expected: Tensor) -> None:
        """One way."""
        output = [call() for _ in range(WARM_UP)][-1]
        self.differences[way] = float((output - expected).norm() / expected.norm())
        repetitions = range(self.options.repetitions)
        self.ms[way] = [timed(call, expected.device).total for _ in repetitions]


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", type=Path, help="JSON with the results; goes on where it ended")
    shapes = ("qwen2-vl-7b", "internvl3-8b")
    parser.add_argument("--shapes", nargs="+", choices=DIMENSIONS, default=shapes)
    parser.add_argument("--case", choices=ALL_CASES, default="1,024")
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--width", type=int, help="of Qwen2-VL, instead of 1280")
    parser.add_argument("--device", type=torch_device, default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--backend", default="inductor", help="of torch.compile")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    return parser.parse_args()


def main() -> None:
    """Measure what is missing."""
    options = parsed()
    rows = json.loads(options.file.read_text()) if options.file.exists() else []
    for is_compiled in (False, True):
        for shape in options.shapes:
            for name, variant, encoder, blocks in chains(shape, options):
                key = {"shape": shape, "case": options.case, "variant": name}
                key["compiled"] = is_compiled
                if not any(key.items() <= row.items() for row in rows):
                    rows.append(key | Chain(encoder, blocks, options).measure(variant, is_compiled))
                    write_json(options.file, rows)
                    print(rows[-1], flush=True)


def chains(
    shape: str, options: argparse.Namespace
) -> Iterator[tuple[str, Variant, nn.Module, list[nn.Module]]]:
    """Compressed and not, an encoder and its blocks behind the first pruned one."""
    encoder = make_encoder(shape, options.depth, options.dtype, options.device, options.width)
    published = published_settings(encoder, options.depth, full_depth(shape))
    blocks = adapter_for(encoder).blocks[published.prune_layer + 1 :]
    yield "published", Variant(published), encoder, blocks
    yield UNCOMPRESSED, Variant(), encoder, blocks


if __name__ == "__main__":
    main()
