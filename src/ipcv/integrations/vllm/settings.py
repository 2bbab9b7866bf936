"""Settings of a server, from the engine's `additional_config`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self, get_args

from ipcv.core import ops
from ipcv.families import FAMILIES, Family
from ipcv.families.records import EncoderKind
from ipcv.language.divprune import DivPrune
from ipcv.settings.methods import PRUNING
from ipcv.settings.presets import scaled_vision
from ipcv.settings.typed import Given
from ipcv.vision.adapters.batched import BatchedEncoder
from ipcv.vision.adaptive import Adaptive
from ipcv.vision.ipcv import IPCV
from ipcv.vision.pruning import PruningMethod

KEY = "ipcv"
"""The key of `additional_config` that holds our settings."""

Attention = Literal["auto", "sdpa", "flash", "full"]

SERVED: dict[str, Family] = {
    model_type: family for family in FAMILIES for model_type in family.served
}
"""Model types that can be served, and the family of each."""

ONE_DIMENSIONAL = {"internvl": ("qwen2", "qwen3")}
"""Model types without M-RoPE that can be given it, and the language models with which they can.

Those are the ones that vLLM compiles for positions of either shape.
"""


@dataclass(frozen=True)
class Settings:
    """Effective settings of a server.

    Attributes:
        vision: as for `ipcv.compress`; a `scope` is always "item".
        attention: how kept patches ask all patches while these still serve as keys and values.
            "sdpa": segment by segment; "flash": flash attention with separate lengths of queries
            and keys; "full": the engine's own attention on all patches, of which the kept are
            used; "auto": whichever fits the attention backend of the engine's encoder.
        tokens: which visual tokens the language model gets; `None` for all.
        encoder_graphs: whether blocks between two steps are captured as CUDA graphs.
    """

    vision: PruningMethod
    attention: Attention = "auto"
    tokens: DivPrune | None = None
    encoder_graphs: bool = False

    def kept(self, tokens: int) -> int:
        """How many of an item's visual tokens the language model gets."""
        method = self.tokens
        return tokens if method is None else ops.keep_count(tokens, method.reduction_ratio)

    @classmethod
    def from_config(cls, given: object, hf_config: Any) -> Self:
        """The settings for a model: those given, the others as `ipcv.compress` would have them.

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
        asked = split(given)
        depth, encoder = _depth(hf_config), _encoder(family, hf_config)
        vision = _served(asked.vision, Adaptive(), scaled_vision(encoder, depth))
        if isinstance(vision, IPCV) and vision.scope != "item":
            raise ValueError(
                'ipcv scope must be "item" in a server: no answer may depend on other requests'
            )
        vision.check(depth)
        if asked.tokens is not None:
            _check_drops(family, hf_config)
        if asked.encoder_graphs and issubclass(encoder.adapter, BatchedEncoder):
            raise ValueError(
                f"ipcv encoder_graphs needs packed rows, and {family.name} encodes batches of tiles"
            )
        return cls(vision, asked.attention, asked.tokens, asked.encoder_graphs)


class Asked(NamedTuple):
    """What was asked for: of the vision side as it was typed, the rest as in `Settings`."""

    vision: Given
    attention: Attention
    tokens: DivPrune | None
    encoder_graphs: bool


def split(given: object) -> Asked:
    """What was asked for, checked as far as no model is needed.

    "settings" names a file of `ipcv tune`, "method" a method, "keep_tokens" the fraction of visual
    tokens that the language model gets; but for "attention" and "encoder_graphs", all else are
    settings of the method.

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
    tokens = _dropping(changes.pop("keep_tokens", 1))
    encoder_graphs = changes.pop("encoder_graphs", False)
    if not isinstance(encoder_graphs, bool):
        raise ValueError(f"ipcv encoder_graphs must be true or false, got {encoder_graphs!r}")
    method, file = changes.pop("method", None), changes.pop("settings", None)
    typed = Given(method, changes, file=file)
    _served(typed, Adaptive(), IPCV())
    return Asked(typed, attention, tokens, encoder_graphs)


def _dropping(keep_tokens: object) -> DivPrune | None:
    """What drops tokens. Raises `ValueError` for what is no fraction."""
    is_number = isinstance(keep_tokens, int | float) and not isinstance(keep_tokens, bool)
    if not is_number or not 0 < keep_tokens <= 1:  # type: ignore[operator]
        raise ValueError(f"ipcv keep_tokens must be a number in (0, 1], got {keep_tokens!r}")
    return None if keep_tokens == 1 else DivPrune(1 - keep_tokens)  # type: ignore[operator]


def _check_drops(family: Family, hf_config: Any) -> None:
    """Raise `ValueError` where the language model can have no gaps between visual tokens."""
    text = hf_config.get_text_config()
    rope = text.rope_parameters or {}
    is_plain = rope.get("rope_type") == "default"
    can_change = text.model_type in ONE_DIMENSIONAL.get(hf_config.model_type, ())
    if "mrope_section" not in rope and not (is_plain and can_change):
        raise ValueError(
            f"ipcv cannot drop visual tokens of {family.name} in vLLM: its positions cannot have "
            "gaps"
        )


def give_mrope(hf_config: Any) -> None:
    """Have a language model that has one position per token take M-RoPE's three, and read the last.

    Others are left alone.
    """
    text = hf_config.get_text_config()
    rope = text.rope_parameters
    if "mrope_section" not in rope:
        width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        rope["mrope_section"] = [0, 0, int(width * rope.get("partial_rotary_factor", 1)) // 2]


def _served(typed: Given, *presets: PruningMethod) -> PruningMethod:
    """The method, where these are the presets. Raises `ValueError` for one that is not served."""
    vision = typed.vision_for(*presets)
    if not isinstance(vision, PruningMethod):
        raise ValueError(f"a server prunes by {', '.join(PRUNING)}, not by {type(vision).__name__}")
    return vision


def _encoder(family: Family, hf_config: Any) -> EncoderKind:
    """The vision encoder that a configuration names, or the family's usual one."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    name = MODEL_MAPPING_NAMES.get(hf_config.vision_config.model_type)
    named = (kind for kind in family.encoders if kind.class_name == name)
    return next(named, family.encoders[0])


def _depth(hf_config: Any) -> int:
    """Blocks of the vision encoder that vLLM builds."""
    vision = hf_config.vision_config
    depth: int = vision.depth if hasattr(vision, "depth") else vision.num_hidden_layers
    if hasattr(hf_config, "select_layer"):  # InternVLChatModel, where 0 is the first block
        layer: int = hf_config.select_layer
        return depth + layer + 1 if layer < 0 else layer + 1
    asked: int | list[int] = getattr(hf_config, "vision_feature_layer", -1)
    layers = [asked] if isinstance(asked, int) else asked
    return max(layer % (depth + 1) for layer in layers)  # 0 is the input of the first block
