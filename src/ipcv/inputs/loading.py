"""Models and their processors, from a folder or the hub, without running what they bring."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
from transformers.utils import is_torchvision_available

from ipcv.core.lines import one_line
from ipcv.families import family_of
from ipcv.inputs.checkpoint import check_files, check_size

DTYPES = ("auto", "float32", "bfloat16", "float16")


def load(
    name_or_path: str | Path,
    *,
    dtype: str = "auto",
    device: str | None = None,
    trust_remote_code: bool = False,
    encoder_alone: bool = False,
) -> tuple[PreTrainedModel, Any]:
    """A model in eval mode and its processor.

    Args:
        name_or_path: a folder, or a model id on the hub.
        dtype: one of `DTYPES`; "auto" is the checkpoint's own, and float32 on a CPU.
        device: as torch names it; the accelerator by default, else the CPU.
        trust_remote_code: whether the checkpoint's own Python code may run.
        encoder_alone: whether a vision encoder will do, which comes without a processor: `None`.

    Raises:
        ValueError: not found, of an unsupported type, wants remote code, ships no (whole)
            safetensors, lacks a tensor or has one too many, or an unknown dtype or device.
    """
    target = torch_device(device)
    weights = torch_dtype(dtype, target)
    source, options = str(name_or_path), {"trust_remote_code": trust_remote_code}
    _require_source(source)
    try:
        check_files(source, trust_remote_code)
        config = AutoConfig.from_pretrained(source, **options)
        family_of(config.model_type)
        stock = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING.get(type(config), None)
        if not encoder_alone and stock is not None and not stock.can_generate():
            raise ValueError(f"a {config.model_type} answers no questions: it generates no text")
        if config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
            processor = load_processor(source, config.model_type, **options)
            loader: Any = AutoModelForImageTextToText
        elif encoder_alone:
            processor, loader = None, AutoModel
        else:
            raise ValueError(f"a {config.model_type} answers no questions: it is an encoder alone")
        check_size(source, config, lambda: loader.from_config(config, **options))
        model, found = loader.from_pretrained(
            source,
            config=config,
            dtype=weights or "auto",
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # told below, by name
            output_loading_info=True,
            **options,
        )
        require_all_tensors(found)
    except MemoryError:
        raise
    except Exception as error:  # of what a checkpoint says, transformers raises anything
        raise ValueError(f"cannot load {source}: {one_line(error)}") from error
    return model.to(target).eval(), processor


def load_config(name_or_path: str | Path) -> PreTrainedConfig:
    """The configuration of a model that is supported; no weights are read.

    Raises:
        ValueError: not found, or of an unsupported type.
    """
    source = str(name_or_path)
    _require_source(source)
    try:
        config = AutoConfig.from_pretrained(source)
        family_of(config.model_type)
    except Exception as error:
        raise ValueError(f"cannot load {source}: {one_line(error)}") from error
    return config


def meta_model(config: PreTrainedConfig) -> PreTrainedModel:
    """A model of that configuration in fp32 on the `meta` device, where it takes no memory.

    Raises:
        ValueError: none can be made of it.
    """
    answers = config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    loader: Any = AutoModelForImageTextToText if answers else AutoModel
    try:
        with torch.device("meta"):
            return loader.from_config(config, dtype=torch.float32)
    except Exception as error:
        raise ValueError(f"its config makes no model: {one_line(error)}") from error


def _require_source(source: str) -> None:
    if not Path(source).is_dir() and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source):
        raise ValueError(
            f"model {source} is neither a folder nor a hub id such as Qwen/Qwen2-VL-2B"
        )


def require_all_tensors(found: Mapping[str, Any]) -> None:
    """Raise `ValueError` unless the checkpoint held exactly the tensors of the model.

    Args:
        found: what `transformers` says of the loading.
    """
    problems = [
        f"{what} {_some(names)}"
        for what, names in (
            ("without", sorted(found["missing_keys"])),
            ("with unknown", sorted(found["unexpected_keys"])),
            ("with wrong shapes", [_shapes(*each) for each in sorted(found["mismatched_keys"])]),
        )
        if names
    ]
    if problems:
        raise ValueError(f"its weights come {', and '.join(problems)}")
    if found.get("error_msgs"):
        raise ValueError(_some(list(map(str, found["error_msgs"]))))


def _some(names: Sequence[str], most: int = 3) -> str:
    rest = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _shapes(name: str, found: Sequence[int], wanted: Sequence[int]) -> str:
    return f"{name} ({list(found)} for {list(wanted)})"


def load_processor(source: str, model_type: str, **options: Any) -> Any:
    """`AutoProcessor`; without torchvision, which videos need, the same for images only."""
    if is_torchvision_available():
        return AutoProcessor.from_pretrained(source, **options)
    processor_class = images_only(PROCESSOR_MAPPING_NAMES[model_type])
    return processor_class.from_pretrained(source, video_processor=None, **options)


def images_only(processor_class: str) -> Any:
    """The `transformers` processor class of that name without its video processor."""
    base = getattr(transformers, processor_class)
    attributes = [name for name in base.get_attributes() if name != "video_processor"]
    members = {
        "get_attributes": classmethod(lambda cls: attributes),
        "apply_chat_template": ProcessorMixin.apply_chat_template,  # SmolVLM's asks for videos
    }
    return type(processor_class, (base,), members)


def torch_dtype(name: str, device: torch.device) -> torch.dtype | None:
    """One of `DTYPES`; `None` for the checkpoint's own. Raises `ValueError` on another name."""
    if name not in DTYPES:
        raise ValueError(f"unknown dtype {name!r}: use one of {', '.join(DTYPES)}")
    if name == "auto":
        return torch.float32 if device.type == "cpu" else None
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def torch_device(name: str | None) -> torch.device:
    """The device of that name, by default the accelerator, else the CPU.

    Raises:
        ValueError: it cannot be used.
    """
    if name is None:
        accelerator = torch.accelerator.current_accelerator()
        return (
            accelerator if torch.accelerator.is_available() and accelerator else torch.device("cpu")
        )
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # fails on the meta device, too
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} cannot be used: {one_line(error)}") from None
    return device
