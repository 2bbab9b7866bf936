"""Conversations: lmms-eval's messages and generation settings as `transformers` takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import GenerationConfig

from ipcv.inputs.media import load_image
from ipcv.inputs.modes import to_rgb
from ipcv.inputs.prompt import Media, content_of, read_video

DEFAULT_NEW_TOKENS = 128
"""The most new tokens of an answer where the task does not say."""

_NOT_GREEDY = ("temperature", "top_p", "top_k")


@dataclass(frozen=True)
class Conversation:
    """A chat as processors take it, and the images and videos in it."""

    messages: list[dict[str, Any]]
    media: list[Media]

    @property
    def kinds(self) -> tuple[bool, bool]:
        """Whether it holds an image, and whether a video; a batch must have one answer to both."""
        return not all(m.is_video for m in self.media), any(m.is_video for m in self.media)


def read_messages(
    messages: Sequence[Mapping[str, Any]],
    processor: Any,
    num_frames: int,
    prepare: Callable[[Image.Image], Image.Image],
) -> Conversation:
    """Load what the messages of a task point to.

    Args:
        messages: lmms-eval's: of each a role and content parts, whose images and videos are in
            `url`, as a picture or a path.
        processor: of the model.
        num_frames: sampled from each video.
        prepare: applied to each image and frame first.

    Raises:
        ValueError: a file cannot be read, or a part is neither text nor image nor video.
    """
    chat, media = [], list[Media]()
    for message in messages:
        content: list[dict[str, Any]] = []
        for part in message["content"]:
            if part["type"] == "text":
                content.append({"type": "text", "text": part["text"]})
            else:
                item = _load(part, num_frames)
                item = Media(tuple(prepare(frame) for frame in item.frames), item.metadata)
                media.append(item)
                content += content_of(processor, item)
        chat.append({"role": message["role"], "content": content})
    return Conversation(chat, media)


def _load(part: Mapping[str, Any], num_frames: int) -> Media:
    kind, source = part["type"], part["url"]
    if kind == "image" and isinstance(source, Image.Image):
        return Media((to_rgb(source),))
    if kind == "image" and isinstance(source, str | Path):
        return Media((load_image(Path(source)),))
    if kind == "video" and isinstance(source, str | Path):
        return read_video(Path(source), num_frames)
    raise ValueError(f"the model takes images and videos, not {kind} from {type(source).__name__}")


def generation_settings(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A task's generation settings as arguments of `generate`, and the names that it has not.

    Sampling is on where `do_sample` says so, or a `temperature` above 0 without it.
    """
    settings: dict[str, Any] = {"max_new_tokens": DEFAULT_NEW_TOKENS}
    settings |= {name: value for name, value in given.items() if value is not None}
    settings.pop("until", None)
    known = GenerationConfig().to_dict()
    unknown = [name for name in settings if name not in known]
    settings = {name: value for name, value in settings.items() if name in known}
    temperature = settings.get("temperature")
    settings["do_sample"] = bool(settings.get("do_sample", temperature)) and temperature != 0
    if not settings["do_sample"]:
        settings |= dict.fromkeys(_NOT_GREEDY)
    return settings, unknown


def stop_strings(given: Mapping[str, Any]) -> list[str]:
    """The `until` of a task."""
    until = given.get("until") or []
    return [until] if isinstance(until, str) else list(until)


def cut(answer: str, until: Sequence[str]) -> str:
    """The answer up to the first of the strings."""
    ends = [answer.index(stop) for stop in until if stop and stop in answer]
    return answer[: min(ends, default=len(answer))]
