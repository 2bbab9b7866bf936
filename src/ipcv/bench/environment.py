"""The machine and the versions that numbers were measured with."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

import torch
from torch import nn


def environment(model: nn.Module) -> dict[str, Any]:
    """Machine, versions and kind of numbers, as JSON types."""
    weight = next(model.parameters())
    is_cuda = weight.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(weight.device) if is_cuda else _processor(),
        "threads": torch.get_num_threads(),
        "dtype": str(weight.dtype).removeprefix("torch."),
        "attention": model.config._attn_implementation,  # type: ignore[union-attr]
        "python": platform.python_version(),
        **{name: version(name) for name in ("ipcv", "torch", "transformers")},
    }


def _processor() -> str:
    """The name of the CPU, as far as the system tells."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
