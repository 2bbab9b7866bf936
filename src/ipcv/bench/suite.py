"""The built-in task suite: questions about drawn scenes that no training code has used."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ipcv.bench.scenes import HELD_OUT, Question, Scene, draw_scene

if TYPE_CHECKING:
    from PIL.Image import Image

ANSWER_TOKENS = 8
"""The most new tokens of an answer."""


@dataclass(frozen=True)
class Scores:
    """Exact-match accuracy, overall and by kind of question."""

    right: dict[str, int]
    asked: dict[str, int]

    @property
    def overall(self) -> float:
        """Right answers per question."""
        return sum(self.right.values()) / sum(self.asked.values())

    @property
    def by_kind(self) -> dict[str, float]:
        """The same for each kind."""
        return {kind: self.right[kind] / count for kind, count in self.asked.items()}


def held_out_scenes(num_questions: int, size: tuple[int, int] = (448, 448)) -> Iterator[Scene]:
    """Held-out scenes of one size (width, height), until they hold so many questions."""
    seed = HELD_OUT
    while num_questions > 0:
        scene = draw_scene(seed, size)
        questions = scene.questions[:num_questions]
        yield Scene(scene.image, scene.objects, questions)
        num_questions -= len(questions)
        seed += 1


def evaluate(
    model: Any,
    processor: Any,
    scenes: Iterable[Scene],
    prepare: Callable[[Image], Image] = lambda image: image,
    on_scene: Callable[[], None] = lambda: None,
) -> Scores:
    """Ask every question of every scene, greedily; an answer counts if it matches exactly.

    Args:
        model: in eval mode, compressed or not.
        processor: its processor.
        scenes: what to ask about.
        prepare: applied to each image first; a baseline may shrink or blank it.
        on_scene: called after each scene.
    """
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for scene in scenes:
        answers = ask(model, processor, prepare(scene.image), [q.text for q in scene.questions])
        for question, answer in zip(scene.questions, answers, strict=True):
            asked[question.kind] += 1
            right[question.kind] += answer == question.answer
        on_scene()
    return Scores(dict(right), dict(asked))


def ask(model: Any, processor: Any, image: Image, questions: list[str]) -> list[str]:
    """Answers to several questions about one image, as one batch of prompts."""
    conversations = [
        [
            {
                "role": "user",
                "content": [{"type": "image", "image": image}, {"type": "text", "text": q}],
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


def answer_prior(questions: Iterable[Question]) -> Scores:
    """What a model without eyes can reach: each kind's most frequent answer, every time."""
    answers: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for question in questions:
        answers[question.kind][question.answer] += 1
    return Scores(
        {kind: max(counts.values()) for kind, counts in answers.items()},
        {kind: counts.total() for kind, counts in answers.items()},
    )
