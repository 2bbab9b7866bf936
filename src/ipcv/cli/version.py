"""`ipcv version`: the versions of what matters."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

import torch
import typer

PACKAGES = ("ipcv", "torch", "transformers", "accelerate", "flash-attn", "vllm", "lmms-eval", "av")


def version() -> None:
    """Print the versions of what matters."""
    typer.echo(f"python {platform.python_version()}")
    for package in PACKAGES:
        try:
            typer.echo(f"{package} {installed_version(package)}")
        except PackageNotFoundError:
            typer.echo(f"{package} not installed")
    accelerator = torch.accelerator.current_accelerator()
    typer.echo(f"accelerator {accelerator.type if accelerator else 'none'}")
