"""Identities of what decides a result: model, settings, pictures."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

import ipcv
from ipcv.bench.variants import Variant
from ipcv.core.config import Config

DIGITS = 16
"""Of a hash, in hexadecimal."""


def model_identity(model: nn.Module, processor: Any) -> dict[str, str]:
    """What makes results of a model comparable, besides its name.

    Weights and settings of model and processor as hashes, the kind of numbers and of device, and
    our version. It reads all weights: a second a gigabyte.
    """
    hashed = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        hashed.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    weight = next(model.parameters())
    return {
        "weights": hashed.hexdigest()[:DIGITS],
        "config": _hash(model.config.to_dict(), "_name_or_path"),  # type: ignore[operator, union-attr]
        "processor": _hash(_settings(processor), "name_or_path"),
        "dtype": str(weight.dtype).removeprefix("torch."),
        "device": weight.device.type,
        "ipcv": ipcv.__version__,
    }


def variant_identity(variant: Variant) -> str:
    """The settings of a variant, as a hash."""
    parts: tuple[Config | None, ...] = (variant.vision, variant.language, variant.downsample)
    return _hash([part and {"method": type(part).__name__, **part.to_dict()} for part in parts])


def file_identity(path: Path) -> str:
    """What a file holds, as a hash; "unreadable" where it cannot be read."""
    try:
        found = path.stat()
        return _file_hash(path, found.st_mtime_ns, found.st_size)
    except OSError:
        return "unreadable"


@cache
def _file_hash(path: Path, changed: int, size: int) -> str:
    if not path.is_file():  # a pipe would never end
        raise OSError
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]


def bytes_identity(content: bytes) -> str:
    """These, as a hash."""
    return hashlib.sha256(content).hexdigest()[:DIGITS]


def _settings(processor: Any) -> Any:
    """Of all parts of a processor."""
    if processor is None:
        return None
    parts = [getattr(processor, name, None) for name in ("image_processor", "video_processor")]
    tokenizer = processor.tokenizer
    return [
        *(part.to_dict() if part is not None else None for part in parts),
        getattr(processor, "chat_template", None),
        tokenizer.get_vocab() if hasattr(tokenizer, "get_vocab") else None,
    ]


def _hash(content: Any, *left_out: str) -> str:
    if isinstance(content, dict):
        content = {key: value for key, value in content.items() if key not in left_out}
    return bytes_identity(json.dumps(content, sort_keys=True, default=str).encode())
