"""The model to measure: a checkpoint, or the dimensions of one with random weights."""

from __future__ import annotations

import torch
from torch import nn
from transformers import AutoConfig

from ipcv.bench.cost.shapes import build, shape_config
from ipcv.families import find_encoder
from ipcv.inputs.loading import load, torch_device, torch_dtype
from ipcv.models import TINY


def load_subject(
    model: str | None = None,
    *,
    shape: str | None = None,
    random_weights: bool = False,
    depth: int | None = None,
    vision_only: bool = True,
    dtype: str = "auto",
    device: str | None = None,
) -> nn.Module:
    """A model, or its vision encoder alone, in eval mode.

    Args:
        model: folder or hub id; the embedded model by default.
        shape: the name of built-in dimensions instead.
        random_weights: required with a shape; of a model, only its configuration is read.
        depth: blocks of the shape's vision encoder, fewer than it has.
        vision_only: without the language model.
        dtype: "auto", "float32", "bfloat16" or "float16".
        device: as torch names it; the accelerator by default.

    Raises:
        ValueError: arguments that do not go together, an unknown shape, a model that cannot be
            loaded, or weights that do not fit into memory.
    """
    if model is not None and shape is not None:
        raise ValueError("give a model or a shape, not both")
    if shape is not None and not random_weights:
        raise ValueError("a shape has no weights but random ones: add --random-weights")
    if depth is not None and shape is None:
        raise ValueError("only a shape can be given another depth")
    if not random_weights:
        loaded, _ = load(model or TINY, dtype=dtype, device=device, encoder_alone=True)
        return find_encoder(loaded)[1] if vision_only else loaded
    target = torch_device(device)
    config = shape_config(shape, depth) if shape else AutoConfig.from_pretrained(model or str(TINY))
    return build(config, torch_dtype(dtype, target) or torch.bfloat16, target, vision_only)
