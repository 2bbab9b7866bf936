"""Settings as a user gives them: a file, methods by name, and single values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from ipcv.families import find_decoder
from ipcv.language import LanguageMethod
from ipcv.settings.methods import LANGUAGE, VISION, M, make, method_class
from ipcv.settings.presets import Preset, preset
from ipcv.vision.method import VisionMethod

NONE = "none"


@dataclass(frozen=True)
class Given:
    """What was typed, on a command line or to another tool. All the rest is the model's preset.

    Attributes:
        method: of the vision side, one of `ipcv.settings.methods.VISION`; that of the file or the
            preset by default.
        vision: settings of it.
        language_method: one of `ipcv.settings.methods.LANGUAGE`; for "none" that of the file, else
            none.
        language: settings of it.
        file: what `ipcv tune` wrote, in place of the preset.

    Raises:
        ValueError: what no model could take, or a file that is none of settings.
    """

    method: str | None = None
    vision: Mapping[str, Any] = field(default_factory=dict)
    language_method: str = NONE
    language: Mapping[str, Any] = field(default_factory=dict)
    file: str | Path | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.file, str | Path | None):
            raise ValueError(f"settings must name a file, got {self.file!r}")
        if self.method is not None:
            make(method_class(self.method, VISION), self.vision)
        elif self.saved is not None:
            self.vision_for(self.saved.vision)
        else:
            _check_some(self.vision)
        if self.language_method != NONE:
            make(method_class(self.language_method, LANGUAGE), self.language)
        elif self.language:
            raise ValueError("a setting of the language side needs a method: dart, for instance")

    @cached_property
    def saved(self) -> Preset | None:
        """What the file holds."""
        return None if self.file is None else Preset.load(self.file)

    def for_model(self, model: nn.Module) -> Preset:
        """The settings of both sides for a model. Raises `ValueError` where it is not supported."""
        published = preset(model, published=True).vision
        return Preset(self.vision_for(preset(model).vision, published), self.language_for(model))

    def vision_for(self, *presets: VisionMethod) -> VisionMethod:
        """Of the vision side, where the model's presets are these, the best first."""
        bases = [self.saved.vision, *presets] if self.saved else presets
        if self.method is None:
            return _changed(bases[0], self.vision)
        kind = method_class(self.method, VISION)
        return _changed(_first(kind, bases) or kind(), self.vision)

    def language_for(self, model: nn.Module) -> LanguageMethod | None:
        """Of the language side: the file's or the preset, or defaults scaled to the depth.

        Raises:
            ValueError: the model's language side is not supported.
        """
        saved = self.saved.language if self.saved else None
        if self.language_method == NONE:
            return saved
        decoder, kind = find_decoder(model), method_class(self.language_method, LANGUAGE)
        base = _first(kind, (saved, preset(model).language))
        return _changed(base or kind().scaled(len(decoder.layers)), self.language)


def parse_pairs(pairs: Sequence[str] | None) -> dict[str, Any]:
    """`["prune_layer=2", ...]` as settings; a value that is no JSON is a string.

    Raises:
        ValueError: a pair is none, or a setting is given twice.
    """
    settings: dict[str, Any] = {}
    for pair in pairs or ():
        name, is_pair, value = pair.partition("=")
        if not (name and is_pair):
            raise ValueError(f"{pair!r} is no setting: write it like prune_layer=2")
        if name in settings:
            raise ValueError(f"{name} is given twice")
        settings[name] = parse_value(value)
    return settings


def parse_value(text: str) -> Any:
    """What the text says in JSON, or the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _check_some(vision: Mapping[str, Any]) -> None:
    """Raise `ValueError` unless some method takes these settings."""
    errors = []
    for kind in VISION.values():
        try:
            make(kind, vision)
        except ValueError as error:
            errors.append(error)
    if len(errors) == len(VISION):
        raise errors[0]


def _first(kind: type[M], bases: Sequence[object]) -> M | None:
    """The first of the settings that are exactly of this kind."""
    return next((base for base in bases if type(base) is kind), None)


def _changed(base: M, changes: Mapping[str, Any]) -> M:
    return make(type(base), base.to_dict() | dict(changes))
