"""Time, FLOPs and memory of variants of a model, measured side by side."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ipcv.bench.clock import metered, milliseconds, recording
from ipcv.bench.cost.flops import flop_counter
from ipcv.bench.cost.memory import peak_bytes
from ipcv.bench.variants import Variant
from ipcv.families import adapter_for
from ipcv.stats import Stats

REPETITIONS = 5
"""Timed runs per variant unless another number is asked for."""

PROJECTORS = ("merger", "multi_modal_projector", "connector")
"""What the modules between a vision encoder and its language model are called."""


@dataclass
class Cost:
    """One variant's cost; times in milliseconds, one entry per repetition.

    Attributes:
        patches: that came into the vision encoder.
        patches_kept: that went through every block of it.
        encoder_ms: in the vision encoder's blocks and what is around them, but the projector.
        projector_ms: between encoder and language model; empty where there is none.
        prefill_ms: in the language model's first forward; empty without a language model.
        decode_ms: in its other forwards, per new token.
        total_ms: the whole call.
        encoder_gflops: of the encoder without its projector.
        projector_gflops, prefill_gflops: of the others.
        llm_tokens: tokens of the prompt that go through the language model's last layer.
        kv_bytes: of the language model's cache behind the call.
        peak_bytes: the most memory held at a time beyond the weights and inputs.
    """

    patches: int = 0
    patches_kept: int = 0
    encoder_ms: list[float] = field(default_factory=list)
    projector_ms: list[float] = field(default_factory=list)
    prefill_ms: list[float] = field(default_factory=list)
    decode_ms: list[float] = field(default_factory=list)
    total_ms: list[float] = field(default_factory=list)
    encoder_gflops: float = 0.0
    projector_gflops: float = 0.0
    prefill_gflops: float = 0.0
    llm_tokens: int = 0
    kv_bytes: int = 0
    peak_bytes: int = 0

    def median(self, times: str) -> float | None:
        """The median of `encoder_ms` or another list of times; `None` where it is empty."""
        values = getattr(self, times)
        return statistics.median(values) if values else None


@dataclass(frozen=True)
class Job:
    """A variant, and the call to measure: the vision encoder once, or `generate` for one prompt."""

    variant: Variant
    call: Callable[[], Any]


def measure(
    model: nn.Module,
    jobs: Mapping[str, Job],
    repetitions: int = REPETITIONS,
    on_step: Callable[[], None] = lambda: None,
) -> dict[str, Cost]:
    """The cost of every job. They take turns, after one warm-up each.

    Args:
        model: in eval mode, not compressed; a vision encoder, or a model around one.
        jobs: by name.
        repetitions: timed runs of each.
        on_step: called after each of the `len(jobs) * (repetitions + 1)` runs.
    """
    costs = {name: Cost() for name in jobs}
    with torch.inference_mode():
        for name, job in jobs.items():
            _count(model, job, costs[name])
            on_step()
        for _ in range(repetitions):
            for name, job in jobs.items():
                with job.variant.applied(model):
                    _time(model, job, costs[name])
                on_step()
    return costs


class _Parts:
    """The modules that are metered."""

    def __init__(self, model: nn.Module) -> None:
        self.encoder = adapter_for(model).encoder
        found = [m for name, m in model.named_modules() if name.split(".")[-1] in PROJECTORS]
        self.projector = found[0] if found else None
        self.is_inside = self.projector in set(self.encoder.modules())
        self.decoder = None if model is self.encoder else model.get_decoder()  # type: ignore[operator]

    def metered(
        self, call: Callable[[], Any], read: Callable[[], float]
    ) -> tuple[float, float, list[float], Any]:
        """By how much encoder, projector and each call of the decoder move the meter."""
        with ExitStack() as stack:
            encoder, projector, decoder = (
                stack.enter_context(metered(module, read)) if module is not None else []
                for module in (self.encoder, self.projector, self.decoder)
            )
            output = call()
        inside = sum(projector) if self.is_inside else 0.0
        return sum(encoder) - inside, sum(projector), decoder, output


def _count(model: nn.Module, job: Job, cost: Cost) -> None:
    """The warm-up: everything but the times."""
    parts, variant = _Parts(model), job.variant
    with ExitStack() as stack:
        handle = stack.enter_context(variant.counted(model))
        prompts = stack.enter_context(recording(parts.decoder)) if parts.decoder else []
        found: list[Any] = []

        def run() -> None:
            with flop_counter() as counter:
                found.extend(parts.metered(job.call, counter.get_total_flops))

        cost.peak_bytes = peak_bytes(run, next(model.parameters()).device)
    encoder, projector, decoder, output = found
    cost.encoder_gflops, cost.projector_gflops = encoder / 1e9, projector / 1e9
    if decoder:
        cost.prefill_gflops = decoder[0] / 1e9
        cost.llm_tokens = prompts[0]["inputs_embeds"].shape[:2].numel()
        layers = [layer for layer in output.past_key_values.layers if hasattr(layer, "keys")]
        cost.kv_bytes = sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)
    _read_stats(cost, handle.stats)


def _read_stats(cost: Cost, stats: Stats) -> None:
    items = [item for call in stats.calls for item in call.items]
    cost.patches = sum(item.patches for item in items)
    cost.patches_kept = sum(item.kept for item in items)
    if stats.prefills:
        cost.llm_tokens = stats.prefills[-1].tokens_per_layer[-1]


def _time(model: nn.Module, job: Job, cost: Cost) -> None:
    parts, start = _Parts(model), milliseconds()
    encoder, projector, decoder, _ = parts.metered(job.call, milliseconds)
    cost.total_ms.append(milliseconds() - start)
    cost.encoder_ms.append(encoder)
    if parts.projector is not None:
        cost.projector_ms.append(projector)
    if decoder:
        cost.prefill_ms.append(decoder[0])
    if len(decoder) > 1:
        cost.decode_ms.append(statistics.mean(decoder[1:]))
