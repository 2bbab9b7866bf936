"""Calls of a vision encoder, to be repeated under other settings: what these cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path

import torch
from torch import nn

from ipcv.bench.clock import metered, recording
from ipcv.bench.cost.flops import count_flops
from ipcv.bench.quality.fidelity import Observe
from ipcv.bench.quality.relative_time import UNITS, relative_times
from ipcv.bench.variants import UNCOMPRESSED, Variant
from ipcv.core.arguments import Arguments
from ipcv.families import find_encoder
from ipcv.inputs.media import load_image
from ipcv.vision.method import VisionMethod


class Replay:
    """The vision encoder on some images, without what is in front of it and behind.

    Args:
        model: in eval mode, not compressed.
        observe: shows images to it.
        images: files, of which the first `UNITS` count that can be shown.

    Raises:
        ValueError: none can.
    """

    def __init__(self, model: nn.Module, observe: Observe, images: Iterable[Path]) -> None:
        _, self.encoder = find_encoder(model)
        self.calls = list(islice(_calls(self.encoder, observe, images), UNITS))
        if not self.calls:
            raise ValueError("no image can be shown to the model: ipcv run says why")
        self._uncompressed = self._count(Variant())
        self._flops: dict[VisionMethod, float] = {}

    def flops(self, method: VisionMethod) -> float:
        """FLOPs for the first image, relative to the uncompressed encoder's."""
        if method not in self._flops:
            self._flops[method] = self._count(Variant(method)) / self._uncompressed
        return self._flops[method]

    def times(self, methods: Mapping[str, VisionMethod]) -> dict[str, float]:
        """Measured time by name, relative to the uncompressed encoder's, all taking turns."""
        variants = {UNCOMPRESSED: Variant()} | {n: Variant(m) for n, m in methods.items()}
        times = relative_times(self.calls, variants, self._milliseconds)
        return {name: times[name] for name in methods}

    def _count(self, variant: Variant) -> int:
        with variant.applied(self.encoder):
            return count_flops(lambda: self.encoder(**self.calls[0]))

    def _milliseconds(self, call: Arguments, variant: Variant) -> float:
        with torch.inference_mode(), variant.applied(self.encoder), metered(self.encoder) as times:
            self.encoder(**call)
        return sum(times)


def _calls(encoder: nn.Module, observe: Observe, images: Iterable[Path]) -> Iterator[Arguments]:
    for path in images:
        with recording(encoder) as calls, suppress(ValueError):
            observe(load_image(path), Variant())
        yield from calls[:1]
