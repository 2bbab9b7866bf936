"""A checkup of a model before any download: what can be compressed in it, and what that saves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ipcv.api import compress
from ipcv.bench.cost.weightless import expected_gflops, without_weights
from ipcv.bench.cost.workload import Workload
from ipcv.bench.variants import Variant
from ipcv.families import adapter_for, family_of, find_decoder, find_encoder
from ipcv.inputs.loading import meta_model
from ipcv.settings.methods import LANGUAGE, PRUNING, VISION
from ipcv.settings.presets import Preset, preset
from ipcv.settings.typed import Given

PRESET = "preset"


@dataclass(frozen=True)
class Checkup:
    """What a configuration says.

    Attributes:
        facts: by name, for people.
        preset: of both sides.
        speedups: per vision method, the preset first, and workload: uncompressed FLOPs over its.
        refusals: per method of either side that the model does not take, why.
    """

    facts: dict[str, str]
    preset: Preset
    speedups: dict[str, list[float]]
    refusals: dict[str, str]


def check_up(
    config: Any, workloads: Sequence[Workload], on_step: Callable[[], None] = lambda: None
) -> Checkup:
    """The checkup of a configuration.

    Args:
        config: of a supported model.
        workloads: what its encoder is shown.
        on_step: called `1 + len(VISION)` times.

    Raises:
        ValueError: no model can be made of it, or none whose encoder is supported.
    """
    model = without_weights(meta_model(config))
    settings, refusals = preset(model), dict[str, str]()
    base = [expected_gflops(model, Variant(), workload) for workload in workloads]
    speedups = dict[str, list[float]]()
    for name in (PRESET, *VISION):
        given = Given(method=None if name == PRESET else name)
        try:
            variant = Variant(given.for_model(model).vision)
            own = [expected_gflops(model, variant, workload) for workload in workloads]
            speedups[name] = [b / o for b, o in zip(base, own, strict=True)]
        except ValueError as error:
            refusals[name] = str(error)
        on_step()
    taken = _language_methods(model, refusals)
    return Checkup(_facts(model, config, taken), settings, speedups, refusals)


def _language_methods(model: nn.Module, refusals: dict[str, str]) -> list[str]:
    """Those that the model takes; why it refuses the others goes into `refusals`."""
    try:
        find_decoder(model)
    except ValueError:
        return []
    taken = []
    for name in LANGUAGE:
        try:
            compress(model, language=Given(language_method=name).language_for(model)).remove()
            taken.append(name)
        except ValueError as error:
            refusals[name] = str(error)
    return taken


def _facts(model: nn.Module, config: Any, language: Sequence[str]) -> dict[str, str]:
    family, (kind, encoder) = family_of(config.model_type), find_encoder(model)
    adapter = adapter_for(model)
    depth, served = len(adapter.blocks), family.served.get(config.model_type)
    facts = {
        "family": f"{family.name} ({config.model_type})",
        "vision encoder": f"{type(encoder).__name__}, {depth} blocks: {kind.shape}",
        "adapter": type(adapter).__name__,
        "patches compete within one": family.item,
        "language side": ", ".join(language) or "none that can be compressed",
        "attention": "sdpa, eager and flash; flex_attention is refused",
        "weights": _weights(config),
        "vLLM": "not served compressed",
    }
    if served:
        facts["vLLM"] = f"served as {served}, by {', '.join(PRUNING)}"
    return facts


def _weights(config: Any) -> str:
    if (quantization := getattr(config, "quantization_config", None)) is None:
        return "not quantized"
    asked = quantization if isinstance(quantization, dict) else quantization.to_dict()
    method = asked.get("quant_method", "an unknown method")
    return f"quantized by {method}: its layers are called and not looked into"
