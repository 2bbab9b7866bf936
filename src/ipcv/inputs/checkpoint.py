"""The files of a checkpoint, checked before any of them is opened by who loads it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers.utils import cached_file

INDEX = "model.safetensors.index.json"
OPENED = frozenset({".jinja", ".json", ".model", ".safetensors", ".txt"})
"""Extensions of what is opened without being named in another file."""

LAYERS = ("depth", "encoder_layers", "num_hidden_layers", "num_layers")
"""Names of their number in configs: to build too many of them takes for ever, on any device."""

QUIETLY = {
    "_raise_exceptions_for_missing_entries": False,
    "_raise_exceptions_for_connection_errors": False,
    "_raise_exceptions_for_gated_repo": False,
}
"""Where there is none, loading says what is wrong."""


def check_files(source: str, trust_remote_code: bool = False) -> None:
    """Raise `ValueError` unless weights are safetensors, and all files plain ones in the folder.

    Args:
        source: a folder, or a model id on the hub, of which the index of the weights is checked.
        trust_remote_code: whether Python files count, too.
    """
    if Path(source).is_dir():
        _check_folder(Path(source), OPENED | {".py"} if trust_remote_code else OPENED)
    elif index := cached_file(source, INDEX, **QUIETLY):
        list(_named_in(Path(index)))


def _check_folder(folder: Path, suffixes: Set[str]) -> None:
    for path in sorted(folder.iterdir()):
        if path.suffix in suffixes:
            _require_plain(folder, path)
        if path.name.endswith("config.json"):
            _object(path)
    if (folder / "adapter_config.json").exists():
        raise ValueError("it is a PEFT adapter of another checkpoint: merge it into that one first")
    if "transformers_weights" in _object(folder / "config.json"):
        raise ValueError('its config names "transformers_weights": call them model.safetensors')
    if (folder / INDEX).exists():
        for name in _named_in(folder / INDEX):
            _require_plain(folder, folder / name)


def check_size(source: str, config: Any, build: Callable[[], nn.Module]) -> None:
    """Raise `ValueError` where a config describes a model far larger than the weights in a folder.

    Args:
        source: the folder; a model id on the hub is not checked.
        config: of `transformers`.
        build: makes the model.
    """
    files = list(Path(source).glob("*.safetensors")) if Path(source).is_dir() else []
    if not files or getattr(config, "quantization_config", None) is not None:
        return
    tensors = 0
    for path in files:
        with safe_open(path, "pt") as weights:
            tensors += len(weights.keys())
    if (layers := max(_layers(config.to_dict()), default=0)) > tensors:
        raise ValueError(f"its config asks for {layers:,} layers, its weights are {tensors:,}")
    with torch.device("meta"):
        wanted = sum(parameter.numel() for parameter in build().parameters())
    there = sum(path.stat().st_size for path in files)
    if wanted > there:
        raise ValueError(f"its config asks for {wanted:,} weights, and {there:,} bytes are there")


def _layers(config: Mapping[str, Any]) -> Iterator[int]:
    """How many of them the parts of a config ask for."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _layers(value)
        elif name in LAYERS and isinstance(value, int):
            yield value


def _named_in(index: Path) -> Iterator[str]:
    """The files that an index names. Raises `ValueError` where one is none beside it."""
    names = _object(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise ValueError(f"{INDEX} maps no tensors to files")
    for name in sorted(set(names.values())):
        if PurePosixPath(name).name != name or os.sep in name or name in ("", ".", ".."):
            raise ValueError(f"{INDEX} names {name!r}, which is not in the folder")
        if not name.endswith(".safetensors"):
            raise ValueError(f"{INDEX} names {name!r}, which is no safetensors")
        yield name


def _require_plain(folder: Path, path: Path) -> None:
    """A link may point into the folder, or to where the hub's cache keeps what it holds."""
    place, root = path.resolve(), folder.resolve()
    in_cache = root.parent.name == "snapshots" and place.is_relative_to(root.parents[1] / "blobs")
    if not place.is_relative_to(root) and not in_cache:
        raise ValueError(f"{path.name} is a link out of the folder")
    try:
        mode = place.stat().st_mode
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path.name} is not a file")


def _object(path: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing where it is not there."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        raise ValueError(f"{path.name} is no JSON") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds no object")
    return content
