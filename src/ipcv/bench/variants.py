"""Ways to run a model, by the name that they have on the command line."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from ipcv.api import CompressionHandle, compress
from ipcv.baselines import Downsample, PixelPrune, RunLength, ToMe
from ipcv.core.config import require_fraction, require_name
from ipcv.families import find_encoder
from ipcv.language import LanguageMethod, V2Drop
from ipcv.settings.methods import LANGUAGE, make, replacement
from ipcv.settings.presets import Preset, preset
from ipcv.settings.typed import Given
from ipcv.vision.adaptive import Adaptive
from ipcv.vision.ipcv import IPCV
from ipcv.vision.method import VisionMethod

Maker = Callable[[nn.Module, float], "Variant"]
UNCOMPRESSED, TUNED_NAME = "uncompressed", "tuned"
KEEP_ALL = IPCV(prune_layer=1, reduction_ratio=0)
"""Counts patches and changes nothing."""

RATIOS = (0.35, 0.5, 0.65, 0.8)
"""The fractions of patches removed that are measured unless others are asked for."""

DEFAULT_METHODS = ("ipcv", "tome", "downsample")
"""The methods likewise."""


@dataclass(frozen=True)
class Variant:
    """One way to run a model; `None` leaves a part as it is."""

    vision: VisionMethod | None = None
    language: LanguageMethod | None = None
    downsample: Downsample | None = None

    def applied(self, model: nn.Module) -> AbstractContextManager[object]:
        """A context in which the model runs this way; images are shrunk by whoever makes inputs."""
        if self.vision is None and self.language is None:
            return nullcontext()
        return compress(model, self.vision, self.language)

    def counted(self, model: nn.Module) -> CompressionHandle:
        """The same, with statistics of the vision encoder in any case."""
        return compress(model, self.vision or KEEP_ALL, self.language)


def method_of(variant: str) -> str:
    """The method in a variant's name: "ipcv" of "ipcv 0.65"."""
    return variant.rsplit(" ", 1)[0]


def _preset(model: nn.Module, ratio: float, *, published: bool = False, **parts: Any) -> Variant:
    """The preset, tuned or not, and what makes the method another one."""
    vision = preset(model, published=published).vision
    changes = parts | {"reduction_ratio": ratio}
    return Variant(type(vision).from_dict(vision.to_dict() | changes))


_published = partial(_preset, published=True)


def _merging(schedule: str, model: nn.Module, ratio: float) -> Variant:
    """As many tokens merged in all as the other methods remove."""
    encoder, module = find_encoder(model)
    return Variant(ToMe(ratio / len(encoder.adapter(module).blocks), schedule))  # type: ignore[arg-type]


def _adaptive(model: nn.Module, ratio: float) -> Variant:
    return Variant(Adaptive(ratio))


def _pixelprune(model: nn.Module, ratio: float) -> Variant:
    return Variant(PixelPrune(ratio))


def _run_length(model: nn.Module, ratio: float) -> Variant:
    return Variant(RunLength(ratio))


def _downsampling(model: nn.Module, ratio: float) -> Variant:
    """As many patches fewer."""
    return Variant(downsample=Downsample(math.sqrt(1 - ratio)))


def _language(name: str, model: nn.Module, ratio: float) -> Variant:
    if LANGUAGE[name] is not V2Drop:
        given = Given(language_method=name, language={"reduction_ratio": ratio})
        return Variant(language=given.language_for(model))
    stages = Given(language_method=name).language_for(model)
    assert isinstance(stages, V2Drop)  # which has no ratio: here one stage
    return Variant(language=V2Drop(stages=((stages.prune_layers[0], 1 - ratio),)))


VISION_METHODS: dict[str, Maker] = {
    "ipcv": _preset,
    "published": _published,
    "adaptive": _adaptive,
    "tome": partial(_merging, "constant"),
    "tome-decreasing": partial(_merging, "decreasing"),
    "pixelprune": _pixelprune,
    "run-length": _run_length,
    "downsample": _downsampling,
}
ABLATIONS: dict[str, Maker] = {
    "random": partial(_published, selector="random"),
    "uniform": partial(_published, selector="uniform"),
    "random-no-ngr": partial(_published, selector="random", reconstruction="none"),
    "uniform-no-ngr": partial(_published, selector="uniform", reconstruction="none"),
    "prune-only": partial(_published, stabilization_layers=0, reconstruction="none"),
}
"""The published method without one of its parts, or several."""

DECODER_METHODS: dict[str, Maker] = {name: partial(_language, name) for name in LANGUAGE}
METHODS = VISION_METHODS | ABLATIONS | DECODER_METHODS
"""Makes the variant for a model and a fraction of the patches (or image tokens) removed."""


def make_variants(
    model: nn.Module, methods: Sequence[str], ratios: Sequence[float]
) -> dict[str, Variant]:
    """All pairs, by names like "ipcv 0.65", after the uncompressed model.

    A method may be a sum, such as "ipcv+dart". Methods of the language side take part only where
    the model has one.

    Raises:
        ValueError: an unknown method, a ratio out of range, or one that the model cannot take.
    """
    check_ratios(ratios)
    variants = {UNCOMPRESSED: Variant()}
    for method in methods:
        for ratio in ratios:
            variants[f"{method} {ratio:g}"] = _sum(model, method.split("+"), ratio)
    return variants


def changed(variants: Mapping[str, Variant], settings: Mapping[str, Any]) -> dict[str, Variant]:
    """The variants, with these settings of the vision methods that have them.

    Raises:
        ValueError: no method has them, one is out of range, or there is no vision method.
    """
    visions = {name: one.vision for name, one in variants.items() if one.vision is not None}
    if settings and not visions:
        raise ValueError("settings are those of vision methods, and there is none")
    takers = [name for name, own in visions.items() if settings.keys() <= own.to_dict().keys()]
    result = dict(variants)
    for name in takers or list(visions)[:1]:  # whose error says what it has
        vision = make(type(visions[name]), visions[name].to_dict() | dict(settings))
        result[name] = dataclasses.replace(variants[name], vision=vision)
    return result


def saved_variant(path: Path | None) -> dict[str, Variant]:
    """What a file of settings holds, by the name "tuned". Raises `ValueError` where it is none."""
    return {} if path is None else {TUNED_NAME: Variant(*Preset.load(path))}


def check_methods(methods: Sequence[str] | None) -> Sequence[str]:
    """The methods, `DEFAULT_METHODS` for none. Raises `ValueError` for one that no model knows."""
    for method in methods or ():
        for name in method.split("+"):
            if instead := replacement(name):
                raise ValueError(instead)
            require_name("method", name, METHODS)
    return methods or DEFAULT_METHODS


def check_ratios(ratios: Sequence[float] | None) -> Sequence[float]:
    """The ratios, `RATIOS` for none. Raises `ValueError` for one out of range."""
    for ratio in ratios or ():
        require_fraction("ratio", ratio)
    return ratios or RATIOS


def _sum(model: nn.Module, names: Sequence[str], ratio: float) -> Variant:
    check_methods(names)
    parts: dict[str, Any] = {}
    for name in names:
        made = METHODS[name](model, ratio)
        own = {f.name: v for f in dataclasses.fields(made) if (v := getattr(made, f.name))}
        if both := parts.keys() & own.keys():
            raise ValueError(f"{'+'.join(names)} sets {' and '.join(both)} twice")
        parts |= own
    return Variant(**parts)
