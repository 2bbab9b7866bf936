"""Questions about drawn scenes, as `transformers` and as vLLM take them."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image

import ipcv
from ipcv.bench.scenes import HELD_OUT, draw_scene
from ipcv.inputs.loading import load
from ipcv.models import TINY

SIZES = ((448, 448), (224, 224), (336, 280), (560, 308), (252, 448))
MAX_TOKENS = 8
IMAGE, VIDEO = (f"<|vision_start|><|{name}_pad|><|vision_end|>" for name in ("image", "video"))


@dataclass(frozen=True)
class Case:
    """A question about some images, or about a video."""

    images: tuple[Image.Image, ...]
    question: str
    video: np.ndarray | None = None

    @property
    def prompt(self) -> str:
        media = IMAGE * len(self.images) if self.video is None else VIDEO
        return f"<|im_start|>user\n{media}{self.question}<|im_end|>\n<|im_start|>assistant\n"

    @property
    def media(self) -> dict[str, Any]:
        if self.video is not None:
            return {"video": self.video}
        return {"image": list(self.images)} if self.images else {}


@cache
def cases(count: int) -> tuple[Case, ...]:
    """One to three images of several sizes per question, and at the end a video."""
    seeds = iter(range(HELD_OUT, HELD_OUT + 4 * count))
    result = []
    for number in range(count - 1):
        scenes = [
            draw_scene(next(seeds), SIZES[(number + i) % len(SIZES)])
            for i in range(1 + number % 5 // 3 + number % 7 // 6)
        ]
        questions = scenes[-1].questions
        text = questions[number % len(questions)].text
        result.append(Case(tuple(scene.image for scene in scenes), text))
    frames = [np.asarray(draw_scene(next(seeds), (224, 224)).image) for _ in range(4)]
    result.append(Case((), "What number is written?", np.stack(frames)))
    return tuple(result)


@cache
def model_and_processor() -> tuple[Any, Any]:
    return load(TINY, device="cpu")


@cache
def expected(
    count: int,
    vision: ipcv.VisionMethod | None = None,
    language: ipcv.LanguageMethod | None = None,
) -> list[list[int]]:
    """Tokens of `transformers`, compressed if there is a method, one prompt at a time."""
    model, processor = model_and_processor()
    handle = ipcv.compress(model, vision, language) if vision or language else None
    tokens = []
    for case in cases(count):
        media: dict[str, Any] = {"images": list(case.images)}
        if case.video is not None:
            media = {"videos": [case.video], "do_sample_frames": False}
        inputs = processor(text=[case.prompt], return_tensors="pt", **media)
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=MAX_TOKENS, do_sample=False)
        tokens.append(output[0, inputs["input_ids"].shape[1] :].tolist())
    if handle is not None:
        handle.remove()
    return tokens
