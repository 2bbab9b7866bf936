"""The methods of both sides by name: on the command line, and in files of settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from ipcv.baselines import CDPruner, ToMe, VisionZip
from ipcv.core.config import Config, require_name
from ipcv.language import DART, FastV, LanguageMethod, RandomDrop, V2Drop
from ipcv.vision.ipcv import IPCV
from ipcv.vision.method import VisionMethod
from ipcv.vision.mixed_resolution import MixedResolution
from ipcv.vision.progressive import Progressive

METHODS: dict[str, type[LanguageMethod]] = {
    "dart": DART,
    "fastv": FastV,
    "v2drop": V2Drop,
    "random": RandomDrop,
    "visionzip": VisionZip,
    "cdpruner": CDPruner,
}
"""Those of the language side."""

VISION: dict[str, type[VisionMethod]] = {
    method.__name__: method for method in (IPCV, MixedResolution, Progressive, ToMe)
}
LANGUAGE: dict[str, type[LanguageMethod]] = {m.__name__: m for m in METHODS.values()}

Method = TypeVar("Method", bound=Config)


def named(settings: Config | None) -> dict[str, Any] | None:
    """The settings as JSON types, with the name of their method."""
    return None if settings is None else {"method": type(settings).__name__, **settings.to_dict()}


def from_named(settings: Mapping[str, Any], known: Mapping[str, type[Method]]) -> Method:
    """The inverse of `named` for methods that are known by these names.

    Raises:
        ValueError: an unknown method or setting, or one out of range.
    """
    own = dict(settings)
    name = own.pop("method", None)
    require_name("method", name, list(known))
    return known[name].from_dict(own)
