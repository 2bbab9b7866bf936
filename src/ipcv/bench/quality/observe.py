"""Observers: they show an image to a model, and say what it makes of it."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional as F

from ipcv.bench.clock import metered
from ipcv.bench.quality.answers import Answer, answer
from ipcv.bench.quality.fidelity import Observation, Observe
from ipcv.bench.variants import Variant
from ipcv.core.arguments import Arguments
from ipcv.families import adapter_for
from ipcv.inputs.prompt import Media, build_inputs

PROMPT = "Describe the image."
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def observer(
    model: nn.Module,
    processor: Any | None,
    prompt: str = PROMPT,
    new_tokens: int = 16,
    side: int | None = None,
) -> Observe:
    """What shows images to this model.

    Args:
        model: in eval mode, not compressed.
        processor: its processor; `None` for a vision encoder, which is shown square crops.
        prompt: what a language model is asked about each image.
        new_tokens: the length of its answer.
        side: pixels per side of those crops; what the encoder was trained on by default.
    """
    if processor is None:
        return partial(_features, model, side)
    return partial(_answer, model, processor, prompt, new_tokens)


def _answer(
    model: Any, processor: Any, prompt: str, new_tokens: int, image: Image.Image, variant: Variant
) -> Observation:
    if variant.downsample is not None:
        image = variant.downsample(image)
    inputs = build_inputs(model, processor, [Media((image,))], prompt, new_tokens)
    run = answer(model, processor, inputs, variant, new_tokens)
    return observed(model, inputs, run)


def observed(model: Any, inputs: Arguments, run: Answer) -> Observation:
    """What came of one image, of what the processor made of it and the answer."""
    grid = None
    if "image_grid_thw" in inputs:
        merge = model.config.vision_config.spatial_merge_size
        _, rows, columns = (inputs["image_grid_thw"][0] // merge).tolist()
        grid = rows, columns
    return Observation(run.visual_tokens, grid, run.encoder_ms, run.logits, run.answer)


def crop(model: Any, image: Image.Image, side: int | None = None) -> Image.Image:
    """The largest square in the middle, scaled to `side` or to what the encoder was trained on."""
    side = side or _side(model.config.image_size)
    return ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)


def _features(model: Any, side: int | None, image: Image.Image, variant: Variant) -> Observation:
    """The last hidden states of the patches of a crop."""
    adapter, patch = adapter_for(model), _side(model.config.patch_size)
    pixels = _pixels(crop(model, image, side))
    if variant.downsample is not None:
        # On pixels, so that the result is a whole number of patches.
        smaller = max(1, round(pixels.shape[-1] * variant.downsample.factor / patch)) * patch
        pixels = F.interpolate(pixels, (smaller, smaller), mode="bicubic", antialias=True)
    weight = next(model.parameters())
    arguments: Arguments = {"pixel_values": pixels.to(weight.device, weight.dtype)}
    if "interpolate_pos_encoding" in inspect.signature(model.forward).parameters:
        arguments["interpolate_pos_encoding"] = True
    with torch.inference_mode(), variant.applied(model), metered(adapter.encoder) as encoding:
        states: Tensor = model(**arguments).last_hidden_state
    across = pixels.shape[-1] // patch
    tokens = states[0, -across * across :].float().cpu()
    return Observation(tokens, (across, across), sum(encoding))


def _pixels(image: Image.Image) -> Tensor:
    """`(1, 3, H, W)`, normalized as is usual for vision encoders."""
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in IMAGENET)
    pixels = torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1)
    return ((pixels - mean) / std)[None]


def _side(size: int | list[int] | tuple[int, int]) -> int:
    return size if isinstance(size, int) else size[0]
