"""The built-in task suite: questions about drawn pictures that no training code has used."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ipcv.bench.clock import metered
from ipcv.bench.quality.identity import bytes_identity, variant_identity
from ipcv.bench.quality.records import Records
from ipcv.bench.scenes import HELD_OUT, Question, Scene
from ipcv.bench.scenes.pictures import DRAWN, VIDEO, draw_picture
from ipcv.bench.variants import Variant
from ipcv.families import adapter_for

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURE_SIDE = 448
"""Of the suite's pictures, in pixels."""

LEAST_SIDE = 224
"""Pixels that any picture can be drawn on."""

ANSWER_TOKENS = 8
"""The most new tokens of an answer."""


def held_out_scenes(
    num_questions: int,
    size: tuple[int, int] = (PICTURE_SIDE, PICTURE_SIDE),
    pictures: Sequence[str] = (DRAWN,),
) -> Iterator[Scene]:
    """Held-out scenes as in `scenes_in_turn`, until they hold so many questions."""
    scenes = scenes_in_turn(size, pictures)
    while num_questions > 0:
        scene = next(scenes)
        questions = scene.questions[:num_questions]
        yield replace(scene, questions=questions)
        num_questions -= len(questions)


def scenes_in_turn(size: tuple[int, int], pictures: Sequence[str]) -> Iterator[Scene]:
    """Endless held-out scenes of one size (width, height) in pixels.

    The `pictures`, names of `PICTURES`, take turns. Frames of clips have half the sides, but no
    less than `LEAST_SIDE`.
    """
    width, height = size
    half = max(LEAST_SIDE, width // 2), max(LEAST_SIDE, height // 2)
    for seed in count(HELD_OUT):
        for name in pictures:
            yield draw_picture(name, seed, half if name == VIDEO else size)


def evaluate_scenes(
    model: nn.Module,
    processor: Any,
    scenes: Iterable[Scene],
    variants: Mapping[str, Variant],
    records: Records,
    on_step: Callable[[], None] = lambda: None,
) -> None:
    """Ask every question of every scene, greedily; an answer is right if it matches exactly.

    Adds a row per scene and variant to the records, for those that they lack: number of the
    `scene`, `variant`, the identities of `content` and `settings`, and of each question `kinds`,
    `right` and `answers`.

    Args:
        model: in eval mode, not compressed.
        processor: its processor.
        scenes: what to ask about.
        variants: by name.
        records: where rows go.
        on_step: called after each scene.
    """
    settings = {name: variant_identity(variant) for name, variant in variants.items()}
    for number, scene in enumerate(scenes):
        unit = {
            "scene": number,
            "content": bytes_identity(b"".join(f.tobytes() for f in scene.frames)),
        }
        for name in records.missing(unit, settings):
            answers, _ = ask_variant(model, processor, scene, variants[name])
            pairs = zip(answers, scene.questions, strict=True)
            row = {
                "kinds": [question.kind for question in scene.questions],
                "right": [given == question.answer for given, question in pairs],
                "answers": answers,
            }
            records.add({**unit, "variant": name, "settings": settings[name], **row})
        on_step()


def ask_variant(
    model: nn.Module, processor: Any, scene: Scene, variant: Variant
) -> tuple[list[str], float]:
    """Answers to the questions about a scene, and milliseconds to encode what it shows."""
    frames = scene.frames
    if variant.downsample is not None:
        frames = tuple(map(variant.downsample, frames))
    adapter = adapter_for(model)
    encoder = adapter.encoder
    once = encoding_once(encoder, len(frames)) if adapter.can_repeat else nullcontext()
    with variant.applied(model), once, metered(encoder) as encoding:
        answers = ask(model, processor, frames, [question.text for question in scene.questions])
    return answers, sum(encoding)


@contextmanager
def encoding_once(encoder: nn.Module, images: int = 1) -> Iterator[None]:
    """Encode so many images of each call and repeat the result: all prompts of a call share them.

    That changes no number, for what an image gives does not depend on the others in its call. For
    encoders whose adapter `can_repeat`.
    """
    copies: list[int] = []

    def keep_first(_: Any, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> Any:
        pixels, grid = args[0], kwargs["grid_thw"]
        copies.append(len(grid) // images)
        return (pixels[: len(pixels) // copies[-1]],), kwargs | {"grid_thw": grid[:images]}

    def repeat(_: Any, args: Any, output: Any) -> None:
        output.pooler_output = output.pooler_output.repeat(copies.pop(), 1)

    before = encoder.register_forward_pre_hook(keep_first, with_kwargs=True, prepend=True)
    after = encoder.register_forward_hook(repeat)
    try:
        yield
    finally:
        before.remove()
        after.remove()


def ask(model: Any, processor: Any, images: Sequence[Image], questions: list[str]) -> list[str]:
    """Answers to several questions about the same images, in order, as one batch of prompts.

    Frames of a clip are images here, so that any processor and any encoder can be asked.
    """
    shown = [{"type": "image", "image": image} for image in images]
    conversations = [
        [
            {
                "role": "user",
                "content": [*shown, {"type": "text", "text": q}],
            }
        ]
        for q in questions
    ]
    inputs = processor.apply_chat_template(
        conversations,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True, "padding_side": "left"},
    ).to(device=model.device, dtype=model.dtype)
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=ANSWER_TOKENS, do_sample=False)
    new_tokens = output[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in processor.batch_decode(new_tokens, skip_special_tokens=True)]


def answer_prior(questions: Iterable[Question]) -> dict[str, tuple[int, int]]:
    """What a model without eyes can reach: each kind's most frequent answer, every time.

    Per kind, how many are right and how many there are.
    """
    answers: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for question in questions:
        answers[question.kind][question.answer] += 1
    return {kind: (max(counts.values()), counts.total()) for kind, counts in answers.items()}
