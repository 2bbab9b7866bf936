"""Settings of both sides from what was typed."""

from __future__ import annotations

import json
from typing import Any

from torch import nn

from ipcv.config import IPCV
from ipcv.decoders import LanguageMethod
from ipcv.methods import METHODS


def parse_pairs(pairs: list[str]) -> dict[str, Any]:
    """`["prune_layer=2", ...]` as settings. Raises `ValueError` where a value is not JSON."""
    settings = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            settings[name] = json.loads(value)
        except json.JSONDecodeError:
            raise ValueError(f"{pair!r} is no setting: write it like prune_layer=2") from None
    return settings


def check_settings(vision: dict[str, Any], language: str, options: dict[str, Any]) -> None:
    """Raise `ValueError` for what no model could take, before one is loaded."""
    IPCV.from_dict(vision)
    if language == "none":
        if options:
            raise ValueError("--language-option needs a method: --language dart, for instance")
    elif language not in METHODS:
        raise ValueError(f"unknown language method {language!r}: use none, {', '.join(METHODS)}")
    else:
        METHODS[language].from_dict(options)


def language_settings(
    model: nn.Module, name: str, options: dict[str, Any]
) -> LanguageMethod | None:
    """The method of that name for a model: its preset, or its defaults scaled to the depth.

    Raises:
        ValueError: the model's language side is not supported.
    """
    if name == "none":
        return None
    from ipcv.decoders.registry import find_decoder
    from ipcv.presets import preset

    decoder, method = find_decoder(model), METHODS[name]
    settings: LanguageMethod | None = preset(model).language
    if settings is None or type(settings) is not method:
        settings = method().scaled(len(decoder.layers), decoder.first_prunable)
    return method.from_dict(settings.to_dict() | options)
