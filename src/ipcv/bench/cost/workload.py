"""Noise of a given size, as a model or its vision encoder takes it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ipcv.baselines import Downsample
from ipcv.core.arguments import Arguments
from ipcv.families import adapter_for, family_of
from ipcv.vision.adapters.noise import Noise

TEXT_TOKENS = 32
"""Tokens of text in a prompt, besides its images."""

MOST_PIXELS = 1_000_000_000
"""Of all images or frames together: more are a slip of the hand."""


@dataclass(frozen=True)
class Workload:
    """One prompt: square images, or a video of square frames.

    Attributes:
        side: pixels per side, rounded to what the encoder's patches allow.
        images: how many.
        frames: of a video instead; 0 for images.

    Raises:
        ValueError: there are none, or more than `MOST_PIXELS`.
    """

    side: int = 448
    images: int = 1
    frames: int = 0

    def __post_init__(self) -> None:
        if self.side < 28 or self.images < 1 or self.frames < 0:
            raise ValueError(
                f"a workload needs images of at least 28 pixels a side, got {self.images} of "
                f"{self.side} pixels and {self.frames} frames"
            )
        if (pixels := self.side**2 * max(self.images, self.frames)) > MOST_PIXELS:
            raise ValueError(f"a workload of {pixels:,} pixels is more than {MOST_PIXELS:,}")

    def __str__(self) -> str:
        if self.frames:
            return f"{self.frames} frames of {self.side} px"
        return f"{self.images} x {self.side} px"

    def shrunk(self, downsample: Downsample | None) -> Workload:
        """The same after downsampling."""
        if downsample is None:
            return self
        return replace(self, side=max(28, round(self.side * downsample.factor)))

    def for_encoder(self, model: nn.Module) -> Arguments:
        """Random arguments of the vision encoder of `model`, in its dtype and on its device."""
        return self._noise(model).arguments

    def for_model(self, model: nn.Module) -> Arguments:
        """A prompt with these images and `TEXT_TOKENS` tokens of text.

        Raises:
            ValueError: a video, or a family whose prompts are not known.
        """
        if self.frames:
            raise ValueError("a video is measured with the vision encoder alone")
        config: Any = model.config
        family = family_of(config.model_type)
        if family.image_arguments is None or config.model_type != family.model_types[0]:
            raise ValueError(
                f"no prompt of noise is known for a {config.model_type}: measure its encoder alone"
            )
        noise = self._noise(model)
        images = family.image_arguments(noise.arguments, self.side, self.images)
        if family.patches_per_token is not None:
            lengths = [noise.patches // family.patches_per_token(config)] * self.images
        else:
            with torch.inference_mode():
                features = model.get_image_features(**images).pooler_output  # type: ignore[operator]
            lengths = [len(feature) for feature in features]
        has_types = "mm_token_type_ids" in inspect.signature(type(model).forward).parameters
        return _prompt(lengths, config.image_token_id, has_types, images)

    def _noise(self, model: nn.Module) -> Noise:
        return adapter_for(model).noise(self.side, self.images, self.frames)


def _prompt(lengths: list[int], image_token: int, has_types: bool, images: Arguments) -> Arguments:
    ids: list[int] = []
    for length in lengths:
        ids += [1, *[image_token] * length]
    device = next(iter(images.values())).device
    input_ids = torch.tensor([ids + [1] * TEXT_TOKENS], device=device)
    prompt = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
    if has_types:
        prompt["mm_token_type_ids"] = (input_ids == image_token).int()
    return prompt | images
