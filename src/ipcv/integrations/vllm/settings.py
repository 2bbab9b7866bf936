"""Settings of a server, from the engine's `additional_config`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from ipcv.families import FAMILIES, Family
from ipcv.settings.presets import scaled_vision
from ipcv.settings.typed import Given
from ipcv.vision.ipcv import IPCV
from ipcv.vision.pruning import PruningMethod

KEY = "ipcv"
"""The key of `additional_config` that holds our settings."""

Attention = Literal["auto", "sdpa", "flash", "full"]

SERVED: dict[str, Family] = {
    model_type: family for family in FAMILIES for model_type in family.served
}
"""Model types that can be served, and the family of each."""


@dataclass(frozen=True)
class Settings:
    """Effective settings of a server.

    Attributes:
        vision: as for `ipcv.compress`; a `scope` is always "item".
        attention: how kept patches ask all patches while these still serve as keys and values.
            "sdpa": segment by segment; "flash": flash attention with separate lengths of queries
            and keys; "full": the engine's own attention on all patches, of which the kept are
            used; "auto": whichever fits the attention backend of the engine's encoder.
    """

    vision: PruningMethod
    attention: Attention = "auto"

    @classmethod
    def from_config(cls, given: object, hf_config: Any) -> Self:
        """The settings for a model: those given, the others from its preset.

        Args:
            given: what `additional_config` holds under `KEY`.
            hf_config: the model's configuration.

        Raises:
            ValueError: the model cannot be compressed, or a setting is wrong.
        """
        family = SERVED.get(hf_config.model_type)
        if family is None:
            raise ValueError(
                f"ipcv cannot compress a {hf_config.model_type} in vLLM; it can: "
                + ", ".join(SERVED)
            )
        typed, attention = split(given)
        depth = _depth(hf_config)
        vision = _served(typed, scaled_vision(family.encoders[0], depth))
        if isinstance(vision, IPCV) and vision.scope != "item":
            raise ValueError(
                'ipcv scope must be "item" in a server: no answer may depend on other requests'
            )
        vision.check(depth)
        return cls(vision, attention)


def split(given: object) -> tuple[Given, Attention]:
    """What was asked for, checked as far as no model is needed, and the attention.

    "settings" names a file of `ipcv tune` and "method" a method; all else are settings of it.

    Raises:
        ValueError: one of them is wrong.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"ipcv settings must be a JSON object, got {given!r}")
    changes = dict(given)
    attention = changes.pop("attention", "auto")
    if attention not in get_args(Attention):
        names = ", ".join(get_args(Attention))
        raise ValueError(f"ipcv attention must be one of {names}, got {attention!r}")
    method, file = changes.pop("method", None), changes.pop("settings", None)
    typed = Given(method, changes, file=file)
    _served(typed, IPCV())
    return typed, attention


def _served(typed: Given, published: IPCV) -> PruningMethod:
    """The method, where the model's preset is this one. Raises `ValueError` for one not served."""
    vision = typed.vision_for(published)
    if not isinstance(vision, PruningMethod):
        raise ValueError(
            f"a server prunes by Adaptive, MixedResolution or IPCV, not by {type(vision).__name__}"
        )
    return vision


def _depth(hf_config: Any) -> int:
    """Blocks of the vision encoder that vLLM builds."""
    vision = hf_config.vision_config
    depth: int = vision.depth if hasattr(vision, "depth") else vision.num_hidden_layers
    layer = getattr(hf_config, "select_layer", -1)  # InternVLChatModel
    return depth + layer + 1 if layer < 0 else layer + 1
