"""Batches of pictures or clips of one size, drawn by worker processes."""

from __future__ import annotations

import multiprocessing
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, cycle
from queue import Full
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from PIL.Image import new as new_image
from torch import Tensor

from ipcv.bench.scenes import HELD_OUT, Question, SceneObject, compose
from ipcv.bench.scenes.clips import LENGTHS, compose_clip
from ipcv.bench.scenes.drawing import paint_background
from ipcv.bench.scenes.pictures import COMPOSERS, DRAWN
from tiny.prompts import Packed, Prompter
from tiny.targets import cell_targets

PATCH = 14
_CLIP_QUESTIONS = 2  # a clip has few
CLIP_SIZES = ((224, 224), (224, 224), (224, 280), (280, 224))
_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32)
_STD = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32)


@dataclass(frozen=True)
class Plan:
    """What to draw: the sizes (width, height) to pick from, and how much fits into a batch.

    ``pictures`` says how often which is drawn, and ``empty`` how often nothing is, though the
    questions are asked: what cannot be seen is to be answered by the most frequent answer.
    ``clips`` says how often a batch is one of clips, of one length, and not of pictures.
    """

    sizes: tuple[tuple[int, int], ...]
    patches: int
    questions: int = 0
    pictures: dict[str, float] = field(default_factory=lambda: {DRAWN: 1.0})
    empty: float = 0.0
    clips: float = 0.0


@dataclass(frozen=True)
class Batch:
    """Images of one size: patches (U, N, 588), the patch grid, cell targets and questions.

    ``frames`` (B, F) says which of the U images a picture (F = 1) or clip shows, in order. Clips
    have no cell targets.
    """

    patches: Tensor
    frames: Tensor
    rows: int
    columns: int
    targets: dict[str, Tensor]
    packed: Packed | None

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        targets = {name: target.to(device) for name, target in self.targets.items()}
        packed = self.packed and self.packed.to(device)
        patches, frames = self.patches.to(device), self.frames.to(device)
        return Batch(patches, frames, self.rows, self.columns, targets, packed)


def image_patches(image: Image) -> NDArray[np.uint8]:
    """(N, 588) pixels in the order of the Qwen2-VL processor: 2 x 2 patches of a cell together."""
    pixels = np.asarray(image)
    rows, columns = pixels.shape[0] // PATCH, pixels.shape[1] // PATCH
    grid = pixels.reshape(rows // 2, 2, PATCH, columns // 2, 2, PATCH, 3)
    return grid.transpose(0, 3, 1, 4, 6, 2, 5).reshape(rows * columns, -1)


def normalize(patches: NDArray[np.uint8]) -> Tensor:
    """Patches (..., 588) as the processor scales them."""
    scale = (1 / (255 * _STD)).repeat(PATCH * PATCH)
    shift = (_MEAN / _STD).repeat(PATCH * PATCH)
    return torch.from_numpy(patches).float().mul_(torch.from_numpy(scale)) - torch.from_numpy(shift)


def draw_batch(seed: int, plan: Plan, prompter: Prompter | None) -> dict[str, Any]:
    """The batch of a seed, as NumPy arrays."""
    rng = random.Random(seed)
    size = rng.choice(plan.sizes)
    images = max(1, round(plan.patches * PATCH * PATCH / (size[0] * size[1])))
    if prompter is not None and rng.random() < plan.clips:
        return _draw_clips(rng, plan, prompter)
    patches, targets, packs = [], [], []
    for _ in range(images):
        scene_rng = random.Random(rng.randrange(HELD_OUT))
        name = rng.choices(list(plan.pictures), list(plan.pictures.values()))[0]
        image, objects, questions = _draw(name, scene_rng, size, plan.questions > 0)
        is_empty = plan.empty > 0 and scene_rng.random() < plan.empty
        if is_empty:
            image = _nothing(scene_rng, size)
        patches.append(image_patches(image))
        targets.append(cell_targets(*((), size) if is_empty else (objects, size, questions)))
        if prompter is not None:
            asked = (
                prompter.choose(questions, scene_rng, plan.questions)
                if questions
                else prompter.ask_many(objects, scene_rng, plan.questions)
            )
            packs.append(prompter.pack(objects, asked, are_shown=not is_empty))
    return {
        "patches": np.stack(patches),
        "frames": np.arange(images)[:, None],
        "grid": (size[1] // PATCH, size[0] // PATCH),
        "targets": {name: np.stack([t[name] for t in targets]) for name in targets[0]},
        "packed": prompter.collate(packs) if prompter is not None else None,
    }


def _draw_clips(rng: random.Random, plan: Plan, prompter: Prompter) -> dict[str, Any]:
    """Clips of one length, in which a frame that stays is encoded once.

    They have about four times as many frames as pictures of that size would fit into a batch, for
    most stay for a while. Short clips are more frequent than long ones.
    """
    length = rng.randint(LENGTHS[0], rng.randint(*LENGTHS))
    size = rng.choice(CLIP_SIZES)
    images = plan.patches * PATCH * PATCH / (size[0] * size[1])
    patches, frames, packs = list[NDArray[np.uint8]](), [], []
    for _ in range(max(1, round(4 * images / length))):
        clip_rng = random.Random(rng.randrange(HELD_OUT))
        clip = compose_clip(clip_rng, size, length)
        shown = clip.frames
        if clip_rng.random() < plan.empty:
            shown = (_nothing(clip_rng, size),) * length
        distinct = {id(frame): frame for frame in shown}
        index = {key: len(patches) + i for i, key in enumerate(distinct)}
        frames.append([index[id(frame)] for frame in shown])
        patches += map(image_patches, distinct.values())
        asked = prompter.choose(clip.questions, clip_rng, min(plan.questions, _CLIP_QUESTIONS))
        packs.append(prompter.pack((), asked))
    return {
        "patches": np.stack(patches),
        "frames": np.array(frames),
        "grid": (size[1] // PATCH, size[0] // PATCH),
        "targets": {},
        "packed": prompter.collate(packs),
    }


def _draw(
    name: str, rng: random.Random, size: tuple[int, int], asked: bool
) -> tuple[Image, Sequence[SceneObject], Sequence[Question]]:
    """A picture, what is on it, and all questions about it; none where any can be made up."""
    if name == DRAWN:
        return *compose(rng, size, *_crowd(rng, size, asked)), ()
    sheet = COMPOSERS[name](rng, size)
    return sheet.image, sheet.objects, sheet.questions


def _nothing(rng: random.Random, size: tuple[int, int]) -> Image:
    """A picture without objects: of one grey or colour, or a background."""
    if rng.random() < 0.5:
        return paint_background(rng, size)
    grey = 3 * (rng.randint(0, 255),)
    colour = tuple(rng.randint(0, 255) for _ in range(3))
    return new_image("RGB", size, grey if rng.random() < 0.5 else colour)


def _crowd(rng: random.Random, size: tuple[int, int], asked: bool) -> tuple[int, int, int]:
    """How many shapes, numbers and words to try to place.

    Without questions nothing needs to be unique and texts, the hardest, may come several times.
    """
    area = size[0] * size[1]
    if asked:
        return min(7, max(1, area // 11_000)), 1, 1
    texts = max(2, area // 8_000)
    numbers = rng.randint(0, texts)
    return min(7, max(2, area // 10_000)), numbers, texts - numbers


def _work(
    queue: Any, plan: Plan, prompter: Prompter | None, seeds: Iterator[int], parent: int
) -> None:
    torch.set_num_threads(1)
    for seed in seeds:
        batch = draw_batch(seed, plan, prompter)
        while os.getppid() == parent:  # or nobody waits for it any more
            with suppress(Full):
                queue.put(batch, timeout=10)
                break
        else:
            return


def batches(plan: Plan, prompter: Prompter | None, seed: int, workers: int = 1) -> Iterator[Batch]:
    """Endless batches from ``seed`` on, drawn ahead by so many worker processes, in turns."""
    context = multiprocessing.get_context("fork")
    queues = [context.Queue(maxsize=6) for _ in range(workers)]
    processes = [
        context.Process(
            target=_work,
            args=(queue, plan, prompter, count(seed + i, workers), os.getpid()),
            daemon=True,
        )
        for i, queue in enumerate(queues)
    ]
    for process in processes:
        process.start()
    try:
        for queue in cycle(queues):
            yield to_batch(queue.get(timeout=120))
    finally:
        for process in processes:
            process.terminate()


def to_batch(raw: dict[str, Any]) -> Batch:
    """NumPy arrays of :func:`draw_batch` as tensors."""
    targets = {name: torch.from_numpy(value) for name, value in raw["targets"].items()}
    rows, columns = raw["grid"]
    frames = torch.from_numpy(raw["frames"])
    return Batch(normalize(raw["patches"]), frames, rows, columns, targets, raw["packed"])
