"""Questions as token sequences: many of them behind one image.

The tokens of one image are ``prefix image-tokens question question ...``. Every question sees the
prefix, the image and itself, and its positions go on from the image as if it were alone. So one
pass trains many questions, each exactly as in the chat template with that question only.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ipcv.bench.scenes import Question, SceneObject, ask
from tiny.targets import CELL, IGNORE

# How often each kind is asked in training: the harder, the more often.
KIND_WEIGHTS = {"read": 2, "colour": 5, "shape": 2, "count": 8, "exists": 4, "relation": 3}
_OTHER = 3


@dataclass(frozen=True)
class Packed:
    """Questions of a batch: ``ids`` and ``labels`` (B, Q, T), the label of a token is the next one.

    ``named`` (B, Q, 2) says at which token a question has named an object, or has asked for one
    (-1: none), and ``spots`` (B, Q, 2, 2) the centre of that object, (x, y) in cells.
    """

    ids: Tensor
    labels: Tensor
    named: Tensor
    spots: Tensor

    def to(self, device: torch.device) -> Packed:
        """The same on a device."""
        return Packed(*(getattr(self, field.name).to(device) for field in fields(self)))


class Prompter:
    """Turns the objects of a scene into questions and those into tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.prefix = self._encode("<|im_start|>user\n<|vision_start|>")
        self.pad = self._encode("<|endoftext|>")[0]
        self._cache: dict[str, list[int]] = {}

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def tokens(self, question: Question) -> tuple[list[int], list[int]]:
        """The tokens after the image up to the answer, and those of the answer."""
        texts = (
            f"<|vision_end|>{question.text}<|im_end|>\n<|im_start|>assistant\n",
            f"{question.answer}<|im_end|>",
        )
        for text in texts:
            if text not in self._cache:
                self._cache[text] = self._encode(text)
        return self._cache[texts[0]], self._cache[texts[1]]

    def ask_many(
        self, objects: Sequence[SceneObject], rng: random.Random, count: int
    ) -> list[Question]:
        """``count`` questions of random kinds about one scene."""
        kinds, weights = list(KIND_WEIGHTS), list(KIND_WEIGHTS.values())
        questions: list[Question] = []
        while len(questions) < count:
            question = ask(rng.choices(kinds, weights)[0], objects, rng)
            if question is not None:
                questions.append(question)
        return questions

    def choose(
        self, questions: Sequence[Question], rng: random.Random, count: int
    ) -> list[Question]:
        """``count`` of the questions about a picture, with repetitions."""
        by_kind: dict[str, list[Question]] = {}
        for question in questions:
            by_kind.setdefault(question.kind, []).append(question)
        weights = [KIND_WEIGHTS.get(kind.removeprefix("photo-"), _OTHER) for kind in by_kind]
        return [rng.choice(own) for own in rng.choices(list(by_kind.values()), weights, k=count)]

    def pack(
        self,
        objects: Sequence[SceneObject],
        questions: Sequence[Question],
        are_shown: bool = True,
    ) -> list[tuple[list[int], list[int], list[int], list[tuple[float, float]]]]:
        """Per question: ids, labels, where objects are named, and where these are, if shown."""
        rows = []
        for question in questions:
            prompt, answer = self.tokens(question)
            ids = prompt + answer[:-1]
            labels = [IGNORE] * (len(prompt) - 1) + answer
            # Tokens: <|vision_end|> Is the red circle left of the blue square ? <|im_end|> ...
            last = prompt.index(self.tokenizer.eos_token_id) - 2
            named = {0: [], 1: [last], 2: [4, last]}[len(question.about)]
            shown = list(question.about)
            if question.source >= 0:  # the question mark knows where the answer is
                named, shown = [*named, last + 1], [*shown, question.source]
            if not are_shown:
                named, shown = [], []
            spots = [objects[i].centre for i in shown] + [(0.0, 0.0)] * (2 - len(shown))
            named += [-1] * (2 - len(named))
            rows.append((ids, labels, named, [(x / CELL - 0.5, y / CELL - 0.5) for x, y in spots]))
        return rows

    def collate(self, packs: Sequence[list[tuple]]) -> Packed:  # type: ignore[type-arg]
        """Pad the questions of a batch to one length."""
        length = max(len(row[0]) for pack in packs for row in pack)

        def padded(which: int, fill: int) -> Tensor:
            return torch.tensor(
                [[row[which] + [fill] * (length - len(row[which])) for row in p] for p in packs]
            )

        return Packed(
            padded(0, self.pad),
            padded(1, IGNORE),
            torch.tensor([[row[2] for row in pack] for pack in packs]),
            torch.tensor([[row[3] for row in pack] for pack in packs]),
        )
