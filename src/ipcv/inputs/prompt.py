"""Prompts: files and a question as the model takes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ipcv.inputs.media import is_video, load_image, load_video

EXAMPLE_QUESTION = "What number is written?"


@dataclass(frozen=True)
class Media:
    """An image, or the sampled frames of a video.

    Attributes:
        frames: RGB; one for an image.
        metadata: of a video, what `ipcv.inputs.media.Video.metadata` says.
    """

    frames: tuple[Image.Image, ...]
    metadata: dict[str, Any] | None = None

    @property
    def is_video(self) -> bool:
        """Whether these are the frames of a video."""
        return self.metadata is not None


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
    return read_video(path) if is_video(path) else Media((load_image(path),))


def read_video(path: Path, num_frames: int = 8) -> Media:
    """Evenly spaced frames; raises as `ipcv.inputs.media.load_video`."""
    video = load_video(path, num_frames)
    return Media(tuple(video.frames), video.metadata())


def content_of(processor: Any, item: Media) -> list[dict[str, Any]]:
    """An item as the content of a chat message.

    Where the processor takes no video (without torchvision), its frames go in as images.
    """
    if item.is_video and takes_video(processor):
        return [{"type": "video", "video": list(item.frames)}]
    return [{"type": "image", "image": frame} for frame in item.frames]


def video_options(processor: Any, media: Sequence[Media]) -> dict[str, Any]:
    """Arguments that make the processor take the frames as they are, at their times."""
    videos = [item.metadata for item in media if item.is_video and takes_video(processor)]
    return {"do_sample_frames": False, "video_metadata": videos} if videos else {}


def takes_video(processor: Any) -> bool:
    """Whether the processor knows videos."""
    return getattr(processor, "video_processor", None) is not None


def build_inputs(model: Any, processor: Any, media: Sequence[Media], question: str) -> Any:
    """The processor's tensors for one prompt, on the model's device and in its dtype.

    Raises:
        ValueError: the processor refuses an image, for instance for its aspect ratio.
    """
    content = [part for item in media for part in content_of(processor, item)]
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
        processor_kwargs=video_options(processor, media),
    )
    return inputs.to(device=model.device, dtype=model.dtype)
