"""Settings per model family."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from torch import nn

from ipcv.config import IPCV
from ipcv.encoders.registry import family_of, find_encoder


class Preset(NamedTuple):
    """Settings for both sides of a model, as `compress` takes them."""

    vision: IPCV
    language: None = None


def preset(model: nn.Module | str) -> Preset:
    """The published settings for a model, scaled to the depth of its encoder.

    Args:
        model: a model, or a `model_type` such as "qwen2_vl" for the published depth.

    Scaling keeps the *fractions of the depth*: for an encoder of `depth` blocks, `prune_layer` and
    `stabilization_layers` are the published ones times `depth / published depth`, rounded, and
    `prune_layer` at least 1. `reduction_ratio` and `num_neighbors` do not depend on depth.

    Raises:
        ValueError: the model type is not supported.
    """
    if isinstance(model, str):
        return Preset(family_of(model).settings)
    encoder, module = find_encoder(model)
    scale = len(encoder.adapter(module).blocks) / encoder.depth
    published = encoder.settings
    return Preset(
        dataclasses.replace(
            published,
            prune_layer=max(1, round(published.prune_layer * scale)),
            stabilization_layers=round(published.stabilization_layers * scale),
        )
    )
