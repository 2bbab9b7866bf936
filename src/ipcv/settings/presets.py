"""Settings per model family."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from torch import nn

from ipcv.families import Encoder, family_of, find_encoder
from ipcv.language.dart import DART
from ipcv.language.fastv import FastV
from ipcv.language.method import LanguageMethod
from ipcv.language.registry import MODEL_TYPES, find_decoder
from ipcv.vision.adapters.base import EncoderAdapter
from ipcv.vision.adapters.packed import PackedEncoder
from ipcv.vision.ipcv import IPCV
from ipcv.vision.method import VisionMethod
from ipcv.vision.mixed_resolution import MixedResolution
from ipcv.vision.progressive import Progressive


class Preset(NamedTuple):
    """Settings for both sides of a model, as `compress` takes them; `language` can be `None`."""

    vision: VisionMethod
    language: LanguageMethod | None = None


class Shape(NamedTuple):
    """What tells an encoder that settings were tuned on: its class, channels and blocks."""

    class_name: str
    width: int
    depth: int


class Tuned(NamedTuple):
    """Settings, and what says how good they are: a file in the repository, a variant in it."""

    vision: VisionMethod
    evidence: str
    variant: str


TUNED: dict[Shape, Tuned] = {
    Shape("Dinov2Model", width=384, depth=12): Tuned(
        Progressive(reduction_ratio=0.65), "benchmarks/results/dinov2.json", "progressive 0.65"
    ),
    Shape("Qwen2VisionTransformerPretrainedModel", width=128, depth=8): Tuned(
        MixedResolution(reduction_ratio=0.5),
        "benchmarks/results/suite.json",
        "contrast 0.5",
    ),
}
"""Per shape of encoder, what is better than the published settings on held-out images."""


def preset(model: nn.Module | str, *, published: bool = False) -> Preset:
    """The settings for a model: tuned ones where its encoder's shape is in `TUNED`.

    Args:
        model: a model, or a `model_type` such as "qwen2_vl" for the published depth.
        published: whether to pass over tuned settings.

    Other models get the published settings, scaled to the depth of encoder and language model.
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
        language = _language(family.encoders[0]) if model in MODEL_TYPES else None
        return Preset(family.settings, language)
    encoder, module = find_encoder(model)
    adapter = encoder.adapter(module)
    tuned = None if published else TUNED.get(_shape(encoder, adapter))
    vision = tuned.vision if tuned else scaled_vision(encoder, len(adapter.blocks))
    return Preset(vision, _scaled_language(model, encoder))


def scaled_vision(encoder: Encoder, depth: int) -> IPCV:
    """The settings of an encoder's entry for one of `depth` blocks."""
    scale = depth / encoder.depth
    published = encoder.settings
    return dataclasses.replace(
        published,
        prune_layer=min(depth - 1, max(2, round(published.prune_layer * scale))),
        stabilization_layers=round(published.stabilization_layers * scale),
    )


def _shape(encoder: Encoder, adapter: EncoderAdapter) -> Shape:
    width = adapter.norm(adapter.blocks[0]).weight.shape[0]  # type: ignore[index]
    return Shape(encoder.class_name, int(width), len(adapter.blocks))


def _language(encoder: Encoder) -> LanguageMethod:
    if issubclass(encoder.adapter, PackedEncoder):
        return DART(prune_layer=3, reduction_ratio=0.65, normalize=False)
    return FastV(prune_layer=3, reduction_ratio=0.65)


def _scaled_language(model: nn.Module, encoder: Encoder) -> LanguageMethod | None:
    try:
        decoder = find_decoder(model)
    except ValueError:
        return None
    depth, first = len(decoder.layers), decoder.first_prunable
    return _language(encoder).scaled(depth, first) if first < depth else None
