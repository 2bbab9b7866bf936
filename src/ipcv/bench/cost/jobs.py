"""Jobs to measure: variants of a model on a workload of noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from ipcv.bench.cost.measure import Job
from ipcv.bench.cost.workload import Workload
from ipcv.bench.generation import generate
from ipcv.bench.variants import Variant
from ipcv.families import adapter_for


def make_jobs(
    model: nn.Module, variants: Mapping[str, Variant], workload: Workload, new_tokens: int = 0
) -> dict[str, Job]:
    """A job per variant.

    Args:
        model: a model, or a vision encoder.
        variants: by name.
        workload: what to run them on, before downsampling.
        new_tokens: how many to generate; 0 for the vision encoder alone.

    Raises:
        ValueError: the model has no language model, or a prompt of noise cannot be made for it.
    """
    encoder = adapter_for(model).encoder
    if new_tokens and not hasattr(model, "generate"):
        raise ValueError(f"a {type(model).__name__} has no language model to measure")

    def call(variant: Variant) -> Callable[[], Any]:
        own = workload.shrunk(variant.downsample)
        if new_tokens:
            return partial(generate, model, own.for_model(model), new_tokens, new_tokens)
        return partial(encoder, **own.for_encoder(model))

    return {name: Job(variant, call(variant)) for name, variant in variants.items()}
