"""The methods of both sides by name: on the command line, and in files of settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from ipcv.baselines import (
    CDPruner,
    DivPrune,
    DropCopies,
    PixelPrune,
    RunLength,
    ToMe,
    VisionZip,
)
from ipcv.core.config import Config
from ipcv.language import DART, FastV, LanguageMethod, RandomDrop, V2Drop
from ipcv.vision.adaptive import Adaptive
from ipcv.vision.ipcv import IPCV
from ipcv.vision.method import VisionMethod
from ipcv.vision.pruning import PruningMethod

VISION: dict[str, type[VisionMethod]] = {
    "ipcv": IPCV,
    "adaptive": Adaptive,
    "tome": ToMe,
    "pixelprune": PixelPrune,
    "run-length": RunLength,
}
PRUNING = [name for name, kind in VISION.items() if issubclass(kind, PruningMethod)]
"""Those whose patches stay what they are: a server takes these alone."""

LANGUAGE: dict[str, type[LanguageMethod]] = {
    "dart": DART,
    "fastv": FastV,
    "v2drop": V2Drop,
    "random-drop": RandomDrop,
    "visionzip": VisionZip,
    "cdpruner": CDPruner,
    "divprune": DivPrune,
    "drop-copies": DropCopies,
}

REMOVED = {
    **dict.fromkeys(
        (
            "relative",
            "attention",
            "medoid",
            "stratified",
            "redundancy",
            "peaks",
            "unexplained",
            "duplicates",
            "k-center",
        ),
        'the selector "difference", or the method adaptive',
    ),
    **dict.fromkeys(
        ("contrast", "mixed-resolution", "MixedResolution"),
        "the method adaptive, with smooth_share 1.0",
    ),
    **dict.fromkeys(("nearest", "softmax"), 'the reconstruction "mean"'),
    **dict.fromkeys(("local", "affine"), 'the reconstruction "linear"'),
    **dict.fromkeys(("progressive", "Progressive"), "the method adaptive"),
    "RandomPrune": 'the method IPCV with selector "random"',
    "UniformPrune": 'the method IPCV with selector "uniform"',
    "PruneOnly": 'the method IPCV with stabilization_layers 0 and reconstruction "none"',
}
"""Rules and methods of earlier versions, and what to use instead."""

M = TypeVar("M", bound=Config)


def method_class(name: object, known: Mapping[str, type[M]]) -> type[M]:
    """The method of that name, which may be the name of its class.

    Raises:
        ValueError: there is none.
    """
    for short, kind in known.items():
        if name in (short, kind.__name__):
            return kind
    message = f"unknown method {name!r}: use one of {', '.join(known)}"
    raise ValueError(replacement(name) or message)


def make(kind: type[M], settings: Mapping[str, Any]) -> M:
    """The method with these settings.

    Raises:
        ValueError: one that it has not, one out of range, or a rule that was removed.
    """
    try:
        return kind.from_dict(settings)
    except ValueError as error:
        rules = (settings.get("selector"), settings.get("reconstruction"))
        raise ValueError(replacement(*rules) or str(error)) from None


def named(settings: Config | None) -> dict[str, Any] | None:
    """The settings as JSON types, with the name of their method."""
    return None if settings is None else {"method": type(settings).__name__, **settings.to_dict()}


def from_named(settings: Mapping[str, Any], known: Mapping[str, type[M]]) -> M:
    """The inverse of `named`. Raises what `method_class` and `make` raise."""
    own = dict(settings)
    return make(method_class(own.pop("method", None), known), own)


def replacement(*names: object) -> str | None:
    """What to say of the first of the names that was removed."""
    removed = (name for name in names if isinstance(name, str) and name in REMOVED)
    return next((f"{name} was removed: use {REMOVED[name]}" for name in removed), None)
