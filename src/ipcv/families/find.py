"""The family, the encoder and the language model of a model."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import GenerationMixin

from ipcv.families.records import EncoderKind, Family
from ipcv.families.table import FAMILIES
from ipcv.families.unsupported import UNSUPPORTED
from ipcv.language.decoder import Decoder
from ipcv.vision.adapters.base import EncoderAdapter


def supported_model_types() -> list[str]:
    """All `model_type`s that can be compressed."""
    return sorted({name for family in FAMILIES for name in family.model_types})


def family_of(model_type: str) -> Family:
    """The family of a `model_type`. Raises `ValueError`, which says why, or what is supported."""
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
        if (stock := family.remote_code.get(model_type)) is not None:
            raise ValueError(
                f"model type {model_type!r} is remote code: load a checkpoint for the stock "
                f"transformers class {stock}"
            )
    if (reason := UNSUPPORTED.get(model_type)) is not None:
        raise ValueError(f"model type {model_type!r} is not supported: {reason}")
    raise ValueError(
        f"model type {model_type!r} is not supported; supported are: "
        + ", ".join(supported_model_types())
    )


def model_type_of(model: nn.Module) -> str:
    """`config.model_type`, or `timm.` and a class. Raises `TypeError` where there is neither."""
    for base in type(model).__mro__:
        if base.__module__.startswith("timm."):
            return f"timm.{base.__name__}"
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    if not isinstance(model_type, str):
        raise TypeError(
            "expected a transformers model with config.model_type, or one of timm, got "
            f"{type(model).__name__}"
        )
    return model_type


def find_encoder(model: nn.Module) -> tuple[EncoderKind, nn.Module]:
    """The vision encoder of `model`, which may be that encoder itself, and its record.

    Raises:
        TypeError: not a `transformers` model.
        ValueError: the model type is not supported, or the encoder is no class listed for it.
    """
    try:
        family = family_of(model_type_of(model))
    except ValueError as error:
        raise ValueError(f"{error}{_known_inside(model)}") from None
    for module in _running(model):
        for kind in family.encoders:
            if _is_stock(module, [kind.class_name]):
                return kind, module
    names = " or ".join(kind.class_name for kind in family.encoders)
    raise ValueError(
        f"no stock {names} of transformers in this {type(model).__name__}: load the checkpoint as "
        f"{_stock_class(model_type_of(model), names)}, without remote code; other vision encoders "
        f"inside {family.name} models are not supported{_known_inside(model)}"
    )


def adapter_for(model: nn.Module) -> EncoderAdapter:
    """The adapter around the vision encoder of `model`. Raises what `find_encoder` raises."""
    kind, module = find_encoder(model)
    parts = set(module.modules())
    owners = [m for m in model.modules() if m is not module and module in m.modules()]
    if any(_is_compiled(part) for part in (*owners, *parts)):
        raise ValueError("the encoder is compiled already: compress first, then compile")
    adapter = kind.adapter(module)
    if (tiles := family_of(model_type_of(model)).tiles) is not None:
        adapter.tile_sources = [
            (owner, method, partial(tiles.read, owner))
            for owner in owners
            for method in tiles.methods
            if hasattr(type(owner), method)
        ]
    return adapter


def find_decoder(model: nn.Module) -> Decoder:
    """The language model inside `model`, which must be multimodal.

    Raises:
        ValueError: there is none, it or the model around it is not supported, or `model` is only
            the inner part of a full model.
    """
    found = set()
    for owner, inner in _language_models(model):
        family = family_of(model_type_of(owner))
        kind = family.decoder
        if kind is not None and _is_stock(inner, kind.class_names):
            deep = kind.deepstack_layers(owner.config) if kind.deepstack_layers else 0
            generator = _generator(model, owner)
            return Decoder(generator, owner, inner, deep, family.fixed_image_length)
        found.add(type(inner).__name__)
    what = f"its {' and '.join(sorted(found))}" if found else "this model, which holds none"
    decoders = [family.decoder for family in FAMILIES if family.decoder]
    names = dict.fromkeys(name for kind in decoders for name in kind.class_names)
    raise ValueError(
        f"the language side of {type(model).__name__} cannot be compressed: supported language "
        f"models of multimodal ones are {', '.join(names)}, not {what}"
    )


def patches_per_token(config: Any) -> int:
    """How many patches, which form a square, make up a visual token of a model.

    Args:
        config: of the multimodal model.

    Raises:
        ValueError: it is not known.
    """
    count = family_of(config.model_type).patches_per_token
    if count is None:
        known = [family.model_types[0] for family in FAMILIES if family.patches_per_token]
        raise ValueError(
            f"which patches make up a visual token is not known for {config.model_type!r}; it is "
            f"for {', '.join(known)}"
        )
    return count(config)


def _is_compiled(module: nn.Module) -> bool:
    is_wrapped = isinstance(module, torch._dynamo.eval_frame.OptimizedModule)
    return is_wrapped or getattr(module, "_compiled_call_impl", None) is not None


def _running(module: nn.Module) -> Iterator[nn.Module]:
    """A module and those inside it that run: where PEFT trains copies of one, the active copy."""
    wrapper: Any = module
    copies = getattr(wrapper, "modules_to_save", None)
    if isinstance(copies, nn.ModuleDict) and hasattr(wrapper, "original_module"):
        names = [] if wrapper.disable_adapters else wrapper.active_adapters
        active = [copies[name] for name in names if name in copies]
        yield from _running(active[0] if active else wrapper.original_module)
        return
    yield module
    for child in module.children():
        yield from _running(child)


def _known_inside(model: nn.Module) -> str:
    """What to do instead where encoders inside the model are known, as they follow an error."""
    known = [kind.class_name for family in FAMILIES for kind in family.encoders]
    calls = [
        f"ipcv.compress(model.{path}, ...)"
        for path, module in model.named_modules()
        if path and _is_stock(module, known)
    ]
    return f"; its vision encoder is known by itself: {' and '.join(calls)}" if calls else ""


def _language_models(model: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """The models inside `model` that hold a stack of layers as their language model, and these."""
    for owner in model.modules():
        for name in ("language_model", "text_model"):
            inner = getattr(owner, name, None)
            if isinstance(inner, nn.Module) and hasattr(inner, "layers"):
                yield owner, inner


def _generator(model: nn.Module, owner: nn.Module) -> nn.Module:
    for module in model.modules():
        generates = isinstance(module, GenerationMixin)
        if generates and any(owner is part for part in module.modules()):
            return module
    raise ValueError(
        f"the language side of {type(model).__name__} cannot be compressed, as it has no "
        "generate(): where it is part of a model that does, pass the full model"
    )


def _is_stock(module: nn.Module, class_names: Collection[str]) -> bool:
    return any(_class_name(base) in class_names for base in type(module).__mro__)


def _class_name(kind: type) -> str:
    """As records have it: what is not of transformers says where it is from."""
    library, name = kind.__module__.partition(".")[0], kind.__name__
    return name if library == "transformers" else f"{library}.{name}"


def _stock_class(model_type: str, default: str) -> str:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    name: str = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(model_type, default)
    return name
