"""Prompts: files and a question as the model takes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ipcv.core.lines import one_line
from ipcv.inputs.decoding import DECODED_PIXELS
from ipcv.inputs.media import is_video, load_image, load_video

EXAMPLE_QUESTION = "What number is written?"

PROMPT_PIXELS = 150_000_000
"""Of all images and frames of a prompt together: more are refused."""

FRAMES = 8
"""Sampled of a video."""

BREAK = "\u2060"
"""A character without width, which makes text of a special token."""


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
        ValueError: no file, an empty question or one that is no text, a file that cannot be read,
            or more than `PROMPT_PIXELS`.
    """
    if not inputs:
        from ipcv.models import EXAMPLE

        inputs = [str(EXAMPLE), EXAMPLE_QUESTION]
    *files, question = inputs
    if os.path.isfile(question):  # unlike Path.is_file, takes a text of any length
        raise ValueError(f"the question is missing: the last argument, {question}, is a file")
    if not files:
        raise ValueError("give at least one image or video, then the question")
    if not question.strip():
        raise ValueError("the question is empty")
    if _is_broken(question):
        raise ValueError("the question is no text: it holds bytes that are no UTF-8")
    media, pixels = list[Media](), 0
    for file in files:
        media.append(_load(Path(file)))
        pixels += sum(frame.width * frame.height for frame in media[-1].frames)
        if pixels > PROMPT_PIXELS:
            raise ValueError(
                f"up to {file} the images hold {pixels:,} pixels, more than {PROMPT_PIXELS:,}"
            )
    return media, question


def _is_broken(text: str) -> bool:
    """Whether it holds half a character, as a command line with other bytes than UTF-8 does."""
    return text != text.encode(errors="replace").decode()


def _load(path: Path) -> Media:
    return read_video(path) if is_video(path) else Media((load_image(path),))


def read_video(path: Path, num_frames: int = FRAMES, most_pixels: int = DECODED_PIXELS) -> Media:
    """Evenly spaced frames; takes and raises what `ipcv.inputs.media.load_video` does."""
    video = load_video(path, num_frames, most_pixels)
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


def build_inputs(
    model: Any, processor: Any, media: Sequence[Media], question: str, new_tokens: int = 0
) -> Any:
    """The processor's tensors for one prompt, on the model's device and in its dtype.

    Args:
        model: what is asked.
        processor: its processor.
        media: what it is asked about.
        question: what is asked. Special tokens of the model in it are text.
        new_tokens: of the answer.

    Raises:
        ValueError: the processor refuses an image, for instance for its aspect ratio, or prompt and
            answer are longer than the model's context.
    """
    try:
        inputs = _process(processor, media, as_text(processor, question))
    except MemoryError:
        raise
    except Exception as error:  # of a processor's own settings
        raise ValueError(f"the model's processor fails: {one_line(error)}") from error
    _require_context(model, inputs["input_ids"].shape[1], new_tokens)
    return inputs.to(device=model.device, dtype=model.dtype)


def as_text(processor: Any, question: str) -> str:
    """The question with each special token of the model in it broken by `BREAK`.

    Raises:
        ValueError: the tokenizer puts it together again.
    """
    tokenizer = processor.tokenizer
    special = {i: str(t) for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    placeholders = {getattr(processor, name, None) for name in ("image_token", "video_token")}
    tokens = {token for token in {*special.values(), *placeholders} if token and token in question}
    if not tokens:
        return question
    for token in sorted(tokens, key=len, reverse=True):
        question = question.replace(token, token[0] + BREAK + token[1:])
    ids = set(tokenizer(question, add_special_tokens=False)["input_ids"])
    if ids & (special.keys() - {tokenizer.unk_token_id}):
        raise ValueError(
            f"the question holds {', '.join(sorted(tokens))}, which the model reserves"
        )
    return question


def _process(processor: Any, media: Sequence[Media], question: str) -> Any:
    content = [part for item in media for part in content_of(processor, item)]
    content.append({"type": "text", "text": question})
    if processor.chat_template is None:  # PaliGemma: images, then the text
        images = [part["image"] for part in content if part["type"] == "image"]
        text = processor.image_token * len(images) + question
        return processor(images=[images], text=[text], return_tensors="pt")
    return processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs=video_options(processor, media),
    )


def _require_context(model: Any, tokens: int, new_tokens: int) -> None:
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if context is not None and tokens + new_tokens > context:
        raise ValueError(
            f"the prompt is {tokens:,} tokens long, and the answer up to {new_tokens:,}: "
            f"the model's context holds {context:,}"
        )
