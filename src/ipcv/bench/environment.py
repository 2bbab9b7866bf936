"""The machine and the versions that numbers were measured with."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

import ipcv


def environment(model: nn.Module) -> dict[str, Any]:
    """Machine, versions and kind of numbers, as JSON types."""
    weight = next(model.parameters())
    return {
        "device": device_name(weight.device),
        "threads": torch.get_num_threads(),
        "dtype": str(weight.dtype).removeprefix("torch."),
        "attention": model.config._attn_implementation,  # type: ignore[union-attr]
        **versions(),
    }


def versions() -> dict[str, str]:
    """Of Python and of what matters in it."""
    return {
        "python": platform.python_version(),
        "ipcv": ipcv.__version__,  # also where it is not installed
        **{name: version(name) for name in ("torch", "transformers")},
    }


def device_name(device: torch.device) -> str:
    """The model of the GPU, or of the CPU as far as the system tells."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
