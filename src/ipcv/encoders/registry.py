"""The one list of what is supported: model types, encoder classes, adapters, published settings."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ipcv.config import IPCV
from ipcv.encoders.base import EncoderAdapter
from ipcv.encoders.packed import PackedEncoder


@dataclass(frozen=True)
class Family:
    """A family of models whose vision encoders compress alike.

    Attributes:
        name: as people call it.
        model_types: `config.model_type` of the models, with or without their language model.
        encoder_class: name of the `transformers` class of the vision encoder.
        adapter: how to compress it.
        checkpoint: an example on the hub.
        shape: the encoder in a few words.
        settings: the reference settings, for an encoder of `depth` blocks.
        depth: blocks of the encoder that `settings` are for.
        published: whether `settings` are the paper's, or scaled from the nearest family's.
    """

    name: str
    model_types: tuple[str, ...]
    encoder_class: str
    adapter: type[EncoderAdapter]
    checkpoint: str
    shape: str
    settings: IPCV
    depth: int
    published: bool


QWEN_SETTINGS = IPCV(prune_layer=3, reduction_ratio=0.65, stabilization_layers=7, num_neighbors=10)

FAMILIES = (
    Family(
        name="Qwen2-VL",
        model_types=("qwen2_vl", "qwen2_vl_vision"),
        encoder_class="Qwen2VisionTransformerPretrainedModel",
        adapter=PackedEncoder,
        checkpoint="Qwen/Qwen2-VL-7B-Instruct",
        shape="packed rows, full attention per frame",
        settings=QWEN_SETTINGS,
        depth=32,
        published=True,
    ),
)


def supported_model_types() -> list[str]:
    """All `model_type`s that can be compressed."""
    return sorted({name for family in FAMILIES for name in family.model_types})


def family_of(model_type: str) -> Family:
    """The family of a `model_type`. Raises `ValueError`, listing what is supported."""
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    raise ValueError(
        f"model type {model_type!r} is not supported; supported are: "
        + ", ".join(supported_model_types())
    )


def model_type_of(model: nn.Module) -> str:
    """`config.model_type` of a model. Raises `TypeError` where there is none."""
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    if not isinstance(model_type, str):
        raise TypeError(
            f"expected a transformers model with config.model_type, got {type(model).__name__}"
        )
    return model_type


def adapter_for(model: nn.Module) -> EncoderAdapter:
    """The adapter around the vision encoder of `model`, which may be that encoder itself.

    Raises:
        TypeError: not a `transformers` model.
        ValueError: the model type is not supported, or the encoder is not the stock class.
    """
    family = family_of(model_type_of(model))
    for module in model.modules():
        if type(module).__name__ == family.encoder_class:
            return family.adapter(module)
    raise ValueError(
        f"no {family.encoder_class} in this {type(model).__name__}: load the checkpoint with the "
        f"stock transformers class of {family.name} (no remote code)"
    )
