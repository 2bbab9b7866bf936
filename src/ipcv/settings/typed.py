"""Settings of both sides from what a user gave, on a command line or to another tool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ipcv.language import LanguageMethod
from ipcv.language.registry import find_decoder
from ipcv.settings.methods import METHODS
from ipcv.settings.presets import Preset, preset
from ipcv.vision.ipcv import IPCV
from ipcv.vision.method import VisionMethod


def check_settings(
    vision: Mapping[str, Any],
    language: str,
    options: Mapping[str, Any],
    saved: Preset | None = None,
) -> None:
    """Raise `ValueError` for what no model could take, before one is loaded."""
    _changed(IPCV() if saved is None else saved.vision, vision)
    if language == "none":
        if options:
            raise ValueError("a setting of the language side needs a method: dart, for instance")
    elif language not in METHODS:
        raise ValueError(f"unknown language method {language!r}: use none, {', '.join(METHODS)}")
    else:
        METHODS[language].from_dict(options)


def vision_settings(
    model: nn.Module, given: Mapping[str, Any], saved: Preset | None = None
) -> VisionMethod:
    """What is given, and the rest as saved, or from the model's preset."""
    return _changed((saved or preset(model)).vision, given)


def language_settings(
    model: nn.Module, name: str, options: Mapping[str, Any], saved: Preset | None = None
) -> LanguageMethod | None:
    """The method of that name for a model: its preset, or its defaults scaled to the depth.

    For "none" the saved one.

    Raises:
        ValueError: the model's language side is not supported.
    """
    if name == "none":
        return saved.language if saved else None
    decoder, method = find_decoder(model), METHODS[name]
    settings: LanguageMethod | None = preset(model).language
    if settings is None or type(settings) is not method:
        settings = method().scaled(len(decoder.layers), decoder.first_prunable)
    return method.from_dict(settings.to_dict() | dict(options))


def _changed(vision: VisionMethod, given: Mapping[str, Any]) -> VisionMethod:
    return type(vision).from_dict(vision.to_dict() | dict(given))
