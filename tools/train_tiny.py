"""The training of the model in ``ipcv/models/tiny``, from scratch, on drawn scenes.

    python tools/train_tiny.py --checkpoint runs/tiny.pt

Stops and resumes at any time; the last checkpoint is exported when all stages are done. The other
parts go on from weights: ``--part pictures --start FOLDER`` learns pages, screens, charts and
photos, and ``--part language --start FOLDER`` teaches the language model alone to use what the
encoder says about them, and clips.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen2VLForConditionalGeneration

from ipcv.bench.scenes.pictures import VIDEO
from ipcv.models import TINY
from tiny.architecture import build_config
from tiny.data import Batch, Plan, batches
from tiny.export import export
from tiny.processor import SPECIAL, build_tokenizer
from tiny.trainer import Trainer


@dataclass(frozen=True)
class Stage:
    """A stretch of training: what is drawn, for how many steps, at which learning rates.

    Without the ``encoder``, only the language model learns.
    """

    name: str
    steps: int
    plan: Plan
    lr: tuple[float, float]
    encoder: bool = True


SMALL = ((168, 168), (112, 224), (224, 112), (196, 140), (140, 196), (112, 168), (168, 112))
MEDIUM = ((224, 224), (224, 224), (280, 168), (168, 280), (196, 252), (252, 196))
LARGE = (*3 * ((448, 448),), (336, 448), (448, 336), (336, 560), (224, 672), (672, 224))

EMPTY = 0.03  # of the pictures that are asked about

SCENES = (
    Stage("encoder, small images", 2000, Plan(SMALL, 3072), (2e-3, 2e-3)),
    Stage("encoder, 224 px", 400, Plan(MEDIUM, 4096), (2e-3, 2e-3)),
    Stage("all, 224 px", 800, Plan(MEDIUM, 4096, questions=12, empty=EMPTY), (2e-3, 1.5e-3)),
    Stage("all, 448 px", 1400, Plan(LARGE, 5120, questions=28, empty=EMPTY), (1.5e-3, 0.0)),
)
WARM_UP = 100

PICTURES = {"drawn": 0.4, "page": 0.2, "screen": 0.17, "chart": 0.13, "photo": 0.1}
SHEETS = ((224, 280), (280, 224), (280, 280), (224, 336), (336, 224))
HARD = {"drawn": 0.35, "page": 0.24, "screen": 0.1, "chart": 0.23, "photo": 0.08}
MORE = (
    Stage(
        "pictures, 224 to 336 px", 1100, Plan(SHEETS, 3072, 10, PICTURES, EMPTY), (1.5e-3, 1.5e-3)
    ),
    Stage("pages and charts", 400, Plan(SHEETS, 3072, 10, HARD, EMPTY), (1.5e-3, 1.5e-3)),
    Stage("pictures, 448 px", 600, Plan(LARGE, 4096, 18, HARD, EMPTY), (1.5e-3, 0.0)),
)

ALL = {"drawn": 0.2, "page": 0.27, "screen": 0.2, "chart": 0.27, "photo": 0.06}
SCENIC = {"drawn": 0.4, "page": 0.17, "screen": 0.13, "chart": 0.14, "photo": 0.16}
PHOTOS = {"drawn": 0.45, "page": 0.08, "screen": 0.08, "chart": 0.1, "photo": 0.29}
VARIED = (*2 * LARGE, (560, 560), (672, 672))
LOOKING = Plan(SHEETS, 2048, 16, ALL, EMPTY)
LANGUAGE = (
    Stage("224 to 336 px", 800, LOOKING, (1.5e-3, 1.5e-3), encoder=False),
    Stage("a few clips", 550, replace(LOOKING, clips=0.25), (1.5e-3, 1.5e-3), encoder=False),
    Stage("clips", 450, replace(LOOKING, clips=0.7), (1.5e-3, 1.5e-3), encoder=False),
    Stage("448 px", 300, Plan(VARIED, 3072, 24, ALL, EMPTY, 0.4), (1.5e-3, 4e-4), encoder=False),
    Stage("scenes", 400, Plan(VARIED, 3072, 24, SCENIC, EMPTY, 0.2), (8e-4, 0.0), encoder=False),
    Stage("photos", 250, Plan(VARIED, 3072, 24, PHOTOS, EMPTY, 0.1), (7e-4, 0.0), encoder=False),
)
PARTS = {"scenes": SCENES, "pictures": MORE, "language": LANGUAGE}


def new_trainer(device: str = "cpu") -> Trainer:
    """A model with random weights."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    model = Qwen2VLForConditionalGeneration(build_config(len(tokenizer), ids))
    return Trainer(model, tokenizer, torch.device(device))


def trainer_from(folder: Path, device: str = "cpu") -> Trainer:
    """A model with the weights in a folder."""
    model = Qwen2VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    return Trainer(model, AutoTokenizer.from_pretrained(folder), torch.device(device))


def stage_at(stages: Sequence[Stage], step: int) -> tuple[Stage, int]:
    """The stage that a step belongs to and how many of its steps are done."""
    for stage in stages:
        if step < stage.steps:
            return stage, step
        step -= stage.steps
    raise StopIteration


def train(
    trainer: Trainer,
    stages: Sequence[Stage],
    checkpoint: Path,
    save_every: int,
    log_every: int,
    workers: int = 1,
) -> None:
    """Run the stages from wherever the trainer is."""
    total = sum(stage.steps for stage in stages)
    stage: Stage | None = None
    source: Iterator[Batch] = iter(())
    log = Log(log_every)
    while trainer.step < total:
        current, done = stage_at(stages, trainer.step)
        if current is not stage:
            stage = current
            print(f"stage: {stage.name}", flush=True)
            prompter = trainer.prompter if stage.plan.questions else None
            source = batches(stage.plan, prompter, 1_000_000 + trainer.step * 7919, workers)
        start, end = stage.lr
        lr = start + (end - start) * done / stage.steps
        log.add(
            trainer.step + 1,
            trainer.update(next(source), lr * min(1, (trainer.step + 1) / WARM_UP), stage.encoder),
        )
        if trainer.step % save_every == 0 or trainer.step == total:
            trainer.save(checkpoint)
            if stage.plan.questions:
                side = 448 if (448, 448) in stage.plan.sizes else 224
                for picture in (*stage.plan.pictures, *[VIDEO] * (stage.plan.clips > 0)):
                    size = (224, 224) if picture == VIDEO else (side, side)
                    scores = trainer.validate(size, 32, picture)
                    print_scores(f"  held out {picture}, {size[0]} px", scores)


class Log:
    """Prints the mean of the scores of a few steps."""

    def __init__(self, every: int) -> None:
        self.every, self.start = every, time.time()
        self.scores: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, step: int, scores: dict[str, float]) -> None:
        """Take in the scores of a step."""
        for name, value in scores.items():
            self.scores[name].append(value)
        if step % self.every == 0:
            seconds = (time.time() - self.start) / len(self.scores["loss"])
            head = f"{time.strftime('%H:%M:%S')} step {step} {seconds:.2f} s/step"
            print_scores(head, {name: sum(v) / len(v) for name, v in self.scores.items()})
            self.scores, self.start = defaultdict(list), time.time()


def print_scores(head: str, scores: dict[str, float]) -> None:
    """One line of names and numbers."""
    print(head, *(f"{name} {value:.3f}" for name, value in scores.items()), flush=True)


def main() -> None:
    """Parse the options, train, export."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/tiny.pt"))
    parser.add_argument("--part", choices=PARTS, default="scenes")
    parser.add_argument("--start", type=Path, help="go on from the weights in this folder")
    parser.add_argument("--output", type=Path, default=TINY)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw")
    parser.add_argument("--save-every", type=int, default=200, metavar="STEPS")
    parser.add_argument("--log-every", type=int, default=50, metavar="STEPS")
    parser.add_argument("--export-only", action="store_true", help="write the model files and stop")
    options = parser.parse_args()
    if (options.part == "scenes") != (options.start is None):
        parser.error("the part scenes begins with random weights, the others need --start")
    torch.set_num_threads(options.threads)
    options.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    trainer = (
        new_trainer(options.device)
        if options.start is None
        else trainer_from(options.start, options.device)
    )
    if options.checkpoint.exists():
        trainer.load(options.checkpoint)
        print(f"resumed at step {trainer.step}")
    if not options.export_only:
        every = options.save_every, options.log_every
        train(trainer, PARTS[options.part], options.checkpoint, *every, options.workers)
    export(trainer.averaged, trainer.prompter.tokenizer, options.output)


if __name__ == "__main__":
    main()
