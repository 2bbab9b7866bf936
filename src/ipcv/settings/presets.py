"""Settings of both sides of a model: the defaults for it, and a file that holds some."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from torch import nn

from ipcv.core.output import check_writable, write_json
from ipcv.core.reading import read_text
from ipcv.families import (
    EncoderKind,
    Size,
    family_of,
    find_decoder,
    find_encoder,
    model_type_of,
)
from ipcv.language.method import LanguageMethod
from ipcv.settings.methods import LANGUAGE, VISION, from_named, named
from ipcv.vision.adapters.base import EncoderAdapter
from ipcv.vision.adaptive import Adaptive
from ipcv.vision.ipcv import IPCV
from ipcv.vision.method import VisionMethod

EVIDENCE = "evidence"
"""The key of a file that is for people."""


class Preset(NamedTuple):
    """Settings for both sides of a model, as `compress` takes them; `language` can be `None`."""

    vision: VisionMethod
    language: LanguageMethod | None = None

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """What a file holds: `ipcv.compress(model, *ipcv.load(path))`.

        The file is an object with `vision`, an object with the name of the `method` and its
        settings; `language`, likewise or null; and `evidence`, which is not read.

        Raises:
            ValueError: no such file, no JSON, an unknown method or setting, or one out of range.
        """
        text = read_text(Path(path))
        try:
            return cls._parse(json.loads(text))
        except (json.JSONDecodeError, RecursionError):
            raise ValueError(f"settings {path} are no JSON") from None
        except ValueError as error:
            raise ValueError(f"settings {path}: {error}") from None

    def save(self, path: str | Path, evidence: Mapping[str, Any] | None = None) -> None:
        """Write what `load` reads, whole or not at all.

        Args:
            path: the file.
            evidence: JSON types that say why these settings.

        Raises:
            ValueError: the file cannot be written.
        """
        check_writable(Path(path))
        sides = {"vision": named(self.vision), "language": named(self.language)}
        write_json(Path(path), {**sides, EVIDENCE: dict(evidence or {})})

    @classmethod
    def _parse(cls, content: Any) -> Self:
        if not isinstance(content, dict) or not isinstance(content.get("vision"), dict):
            raise ValueError(
                'an object with "vision" is needed, which has a "method" and its settings'
            )
        if unknown := sorted(content.keys() - {*cls._fields, EVIDENCE}):
            raise ValueError(f"unknown keys {', '.join(unknown)}")
        language = content.get("language")
        if not isinstance(language, dict | None):
            raise ValueError(f"language must be an object or null, got {language!r}")
        vision = from_named(content["vision"], VISION)
        return cls(vision, None if language is None else from_named(language, LANGUAGE))


load = Preset.load


def save(path: str | Path, settings: Preset, evidence: Mapping[str, Any] | None = None) -> None:
    """Write the settings into a file, as `Preset.save` does."""
    settings.save(path, evidence)


def preset(model: nn.Module | str, *, published: bool = False) -> Preset:
    """The settings that are known to be good for a model.

    Its vision encoder gets tuned settings where its record has some for its size, else `Adaptive`.

    Args:
        model: a model, or a `model_type` such as "qwen2_vl" for the published depth.
        published: whether the vision encoder gets the published settings instead.

    Published settings are scaled to the depth of encoder and language model.
    Scaling keeps the *fractions of the depth*: for an encoder of `depth` blocks, `prune_layer` and
    `stabilization_layers` are the published ones times `depth / published depth`, rounded, and
    `prune_layer` at least 2: what block 0 alone changes tells much less about which patches matter
    (see the embedded model's card). `reduction_ratio` and `num_neighbors` do not depend on depth.
    The language side is scaled from `LanguageMethod.reference_depth` layers, which gives the
    published one for the 28 layers that it was published for; it is `None` where the model holds no
    language model that can be compressed.

    Published are Qwen2-VL with DART and InternVL3 with FastV; other families get the settings of
    the one whose vision encoder is more alike.

    Raises:
        ValueError: the model type is not supported.
    """
    if isinstance(model, str):
        family = family_of(model)
        decoder = family.decoder if model == family.model_types[0] else None
        language = decoder.settings if decoder else None
        return Preset(family.encoders[0].settings if published else Adaptive(), language)
    kind, module = find_encoder(model)
    adapter = kind.adapter(module)
    vision: VisionMethod = scaled_vision(kind, len(adapter.blocks))
    if not published:
        tuned = kind.tuned.get(_size(adapter))
        vision = tuned.vision if tuned else Adaptive()
    return Preset(vision, _scaled_language(model))


def scaled_vision(kind: EncoderKind, depth: int) -> IPCV:
    """The settings of an encoder's record for one of `depth` blocks."""
    scale = depth / kind.depth
    published = kind.settings
    return dataclasses.replace(
        published,
        prune_layer=min(depth - 1, max(2, round(published.prune_layer * scale))),
        stabilization_layers=round(published.stabilization_layers * scale),
    )


def _size(adapter: EncoderAdapter) -> Size:
    width = adapter.norm(adapter.blocks[0]).weight.shape[0]  # type: ignore[index]
    return Size(int(width), len(adapter.blocks))


def _scaled_language(model: nn.Module) -> LanguageMethod | None:
    kind = family_of(model_type_of(model)).decoder
    try:
        decoder = find_decoder(model)
    except ValueError:
        return None
    return kind.settings.scaled(len(decoder.layers)) if kind else None
