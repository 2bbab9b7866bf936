"""What a server is asked to do, from the engine's `additional_config`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from ipcv.families import (
    INTERNVL,
    QWEN2_5_VL,
    QWEN2_VL,
    QWEN3_VL,
    QWEN3_VL_MOE,
    Encoder,
)
from ipcv.settings.files import load
from ipcv.settings.presets import scaled_vision
from ipcv.vision.ipcv import IPCV

KEY = "ipcv"
"""The key of `additional_config` that holds our settings."""

Attention = Literal["auto", "sdpa", "flash", "full"]

ENCODERS: dict[str, Encoder] = {
    "qwen2_vl": QWEN2_VL,
    "qwen2_5_vl": QWEN2_5_VL,
    "qwen3_vl": QWEN3_VL,
    "qwen3_vl_moe": QWEN3_VL_MOE,
    "internvl": INTERNVL,
    "internvl_chat": INTERNVL,
}
"""Model types that can be served, and whose preset they get."""


@dataclass(frozen=True)
class Settings:
    """Effective settings of a server.

    Attributes:
        vision: as for `ipcv.compress`; `scope` is always "item".
        attention: how kept patches ask all patches while these still serve as keys and values.
            "sdpa": segment by segment; "flash": flash attention with separate lengths of queries
            and keys; "full": the engine's own attention on all patches, of which the kept are
            used; "auto": whichever fits the attention backend of the engine's encoder.
    """

    vision: IPCV
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
        encoder = ENCODERS.get(hf_config.model_type)
        if encoder is None:
            raise ValueError(
                f"ipcv cannot compress a {hf_config.model_type} in vLLM; it can: "
                + ", ".join(ENCODERS)
            )
        changes, attention = split(given)
        depth = _depth(hf_config)
        vision = IPCV.from_dict(scaled_vision(encoder, depth).to_dict() | changes)
        if vision.scope != "item":
            raise ValueError(
                'ipcv scope must be "item" in a server: no answer may depend on other requests'
            )
        vision.check(depth)
        return cls(vision, attention)


def split(given: object) -> tuple[dict[str, Any], Attention]:
    """Settings of `ipcv.IPCV`, checked one by one, and the attention. Raises `ValueError`.

    "settings" names a file of `ipcv tune`; what is given besides goes before it.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"ipcv settings must be a JSON object, got {given!r}")
    changes = dict(given)
    attention = changes.pop("attention", "auto")
    if attention not in get_args(Attention):
        names = ", ".join(get_args(Attention))
        raise ValueError(f"ipcv attention must be one of {names}, got {attention!r}")
    if (path := changes.pop("settings", None)) is not None:
        changes = _from_file(path) | changes
    IPCV.from_dict(changes)
    return changes, attention


def _from_file(path: object) -> dict[str, Any]:
    if not isinstance(path, str):
        raise ValueError(f"ipcv settings must name a file, got {path!r}")
    vision = load(path).vision
    if not isinstance(vision, IPCV):
        raise ValueError(f"a server compresses by IPCV, and {path} holds {type(vision).__name__}")
    return vision.to_dict()


def _depth(hf_config: Any) -> int:
    """Blocks of the vision encoder that vLLM builds."""
    vision = hf_config.vision_config
    depth: int = vision.depth if hasattr(vision, "depth") else vision.num_hidden_layers
    layer = getattr(hf_config, "select_layer", -1)  # InternVLChatModel
    return depth + layer + 1 if layer < 0 else layer + 1
