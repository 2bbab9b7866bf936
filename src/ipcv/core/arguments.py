"""The arguments of a module's call, by name."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from accelerate.utils import send_to_device  # type: ignore[import-untyped]
from torch import Tensor

Arguments = dict[str, Any]


def bind(signature: inspect.Signature, args: Any, kwargs: Arguments) -> Arguments:
    """All arguments of a call by name, those in `**kwargs` too."""
    arguments: Arguments = {}
    for name, value in signature.bind(*args, **kwargs).arguments.items():
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            arguments |= value
        else:
            arguments[name] = value
    return arguments


def on_device(arguments: Arguments, device: torch.device) -> Arguments:
    """The arguments with all tensors on `device`, the same objects where they are there already."""
    tensors = (
        x for value in arguments.values() for x in (value if isinstance(value, tuple) else (value,))
    )
    if all(x.device == device for x in tensors if isinstance(x, Tensor)):
        return arguments
    moved: Arguments = send_to_device(arguments, device)
    return moved
