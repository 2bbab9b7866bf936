"""From files and a question to what the model takes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ipcv.media import is_video, load_image, load_video

EXAMPLE_QUESTION = "What number is written?"


@dataclass(frozen=True)
class Media:
    """An image, or the sampled frames of a video."""

    frames: tuple[Image.Image, ...]
    is_video: bool = False


def read_prompt(inputs: Sequence[str] | None) -> tuple[list[Media], str]:
    """Load `[file, ..., question]`; the shipped example where there is nothing.

    Raises:
        ValueError: no file, an empty question, or a file that cannot be read.
    """
    if not inputs:
        from ipcv.models import EXAMPLE

        inputs = [str(EXAMPLE), EXAMPLE_QUESTION]
    *files, question = inputs
    if not files:
        raise ValueError("give at least one image or video, then the question")
    if not question.strip():
        raise ValueError("the question is empty")
    if os.path.isfile(question):  # unlike Path.is_file, takes a text of any length
        raise ValueError(f"the question is missing: the last argument, {question}, is a file")
    return [_load(Path(file)) for file in files], question


def _load(path: Path) -> Media:
    if is_video(path):
        return Media(tuple(load_video(path)), is_video=True)
    return Media((load_image(path),))


def build_inputs(model: Any, processor: Any, media: Sequence[Media], question: str) -> Any:
    """The processor's tensors for one prompt, on the model's device and in its dtype.

    Where the processor takes no video (without torchvision), its frames go in as images.

    Raises:
        ValueError: the processor refuses an image, for instance for its aspect ratio.
    """
    content: list[dict[str, Any]] = []
    for item in media:
        if item.is_video and getattr(processor, "video_processor", None) is not None:
            content.append({"type": "video", "video": list(item.frames)})
        else:
            content.extend({"type": "image", "image": frame} for frame in item.frames)
    content.append({"type": "text", "text": question})
    if processor.chat_template is None:  # PaliGemma: images, then the text
        images = [part["image"] for part in content if part["type"] == "image"]
        text = processor.image_token * len(images) + question
        inputs = processor(images=[images], text=[text], return_tensors="pt")
        return inputs.to(device=model.device, dtype=model.dtype)
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    return inputs.to(device=model.device, dtype=model.dtype)
