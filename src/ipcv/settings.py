"""Settings of both sides from what a user gave, on a command line or to another tool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ipcv.config import IPCV
from ipcv.decoders import LanguageMethod
from ipcv.decoders.registry import find_decoder
from ipcv.methods import METHODS
from ipcv.presets import preset


def check_settings(vision: Mapping[str, Any], language: str, options: Mapping[str, Any]) -> None:
    """Raise `ValueError` for what no model could take, before one is loaded."""
    IPCV.from_dict(vision)
    if language == "none":
        if options:
            raise ValueError("a setting of the language side needs a method: dart, for instance")
    elif language not in METHODS:
        raise ValueError(f"unknown language method {language!r}: use none, {', '.join(METHODS)}")
    else:
        METHODS[language].from_dict(options)


def vision_settings(model: nn.Module, given: Mapping[str, Any]) -> IPCV:
    """What is given, and the rest from the model's preset."""
    return IPCV.from_dict(preset(model).vision.to_dict() | dict(given))


def language_settings(
    model: nn.Module, name: str, options: Mapping[str, Any]
) -> LanguageMethod | None:
    """The method of that name for a model: its preset, or its defaults scaled to the depth.

    Raises:
        ValueError: the model's language side is not supported.
    """
    if name == "none":
        return None
    decoder, method = find_decoder(model), METHODS[name]
    settings: LanguageMethod | None = preset(model).language
    if settings is None or type(settings) is not method:
        settings = method().scaled(len(decoder.layers), decoder.first_prunable)
    return method.from_dict(settings.to_dict() | dict(options))
