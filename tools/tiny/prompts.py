"""Questions as token sequences: many of them behind one image or clip.

The tokens of one image are ``prefix image-tokens question question ...``; frames of a clip are
images with ``between`` between them. Every question sees the
prefix, the image and itself, and its positions go on from the image as if it were alone. So one
pass trains many questions, each exactly as in the chat template with that question only.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ipcv.bench.scenes import Question, SceneObject, ask
from tiny.targets import CELL, IGNORE, covered_cells

# How often each kind is asked in training: the harder, the more often.
KIND_WEIGHTS = {"read": 2, "colour": 5, "shape": 2, "count": 8, "exists": 4, "relation": 3}
_LOOKED_UP = {"page-after": 9, "screen-field": 6, "chart-value": 6, "chart-colour": 6}
_WEIGHTS = KIND_WEIGHTS | _LOOKED_UP
_OTHER = 3

Row = tuple[Sequence[Any], ...]
"""Of a question what :class:`Packed` holds of all."""


@dataclass(frozen=True)
class Packed:
    """Questions of a batch: ``ids`` and ``labels`` (B, Q, T), the label of a token is the next one.

    ``named`` (B, Q, 3) says at which tokens a question has named one object and another one, and
    has asked for one (-1: it has not), ``spots`` (B, Q, 3, 2) the centres of these, (x, y) in
    cells, and ``boxes`` (B, Q, 3, 4) the cells that they cover: top, bottom, left, right.
    """

    ids: Tensor
    labels: Tensor
    named: Tensor
    spots: Tensor
    boxes: Tensor

    def to(self, device: torch.device) -> Packed:
        """The same on a device."""
        return Packed(*(getattr(self, field.name).to(device) for field in fields(self)))


class Prompter:
    """Turns the objects of a scene into questions and those into tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.prefix = self._encode("<|im_start|>user\n<|vision_start|>")
        self.between = self._encode("<|vision_end|><|vision_start|>")
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
        weights = [_WEIGHTS.get(kind.removeprefix("photo-"), _OTHER) for kind in by_kind]
        return [rng.choice(own) for own in rng.choices(list(by_kind.values()), weights, k=count)]

    def pack(
        self,
        objects: Sequence[SceneObject],
        questions: Sequence[Question],
        are_shown: bool = True,
    ) -> list[Row]:
        """Per question: ids, labels, and of the objects that it names, if shown, where.

        That is at which token, around which point and in which cells.
        """
        rows = list[Row]()
        for question in questions:
            prompt, answer = self.tokens(question)
            ids = prompt + answer[:-1]
            labels = [IGNORE] * (len(prompt) - 1) + answer
            # Tokens: <|vision_end|> Is the red circle left of the blue square ? <|im_end|> ...
            last = prompt.index(self.tokenizer.eos_token_id) - 2
            named = {0: [-1, -1], 1: [last, -1], 2: [4, last]}[len(question.about)]
            named.append(last + 1 if question.source >= 0 else -1)  # the question mark
            shown = [*question.about, *(2 - len(question.about)) * [-1], question.source]
            if not are_shown:
                named = [-1, -1, -1]
            spots, boxes = zip(
                *(_where(objects[i] if i >= 0 else None) for i in shown), strict=True
            )
            rows.append((ids, labels, named, spots, boxes))
        return rows

    def collate(self, packs: Sequence[list[Row]]) -> Packed:
        """Pad the questions of a batch to one length."""
        length = max(len(row[0]) for pack in packs for row in pack)

        def padded(which: int, fill: int) -> Tensor:
            return torch.tensor(
                [[[*row[which], *[fill] * (length - len(row[which]))] for row in p] for p in packs]
            )

        return Packed(
            padded(0, self.pad),
            padded(1, IGNORE),
            torch.tensor([[row[2] for row in pack] for pack in packs]),
            torch.tensor([[row[3] for row in pack] for pack in packs]),
            torch.tensor([[row[4] for row in pack] for pack in packs]),
        )


def _where(item: SceneObject | None) -> tuple[tuple[float, float], tuple[int, int, int, int]]:
    """The centre of an object, and the cells that it covers."""
    if item is None:
        return (0.0, 0.0), (0, 0, 0, 0)
    (x, y), (rows, columns) = item.centre, covered_cells(item)
    box = rows.start, rows.stop, columns.start, columns.stop
    return (x / CELL - 0.5, y / CELL - 0.5), box
