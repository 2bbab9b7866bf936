"""What training draws: batches in the order of their seeds, and targets that say what is shown."""

import random
from itertools import islice

import numpy as np
import torch

from ipcv.bench.scenes import WORDS, SceneObject
from ipcv.bench.scenes.pages import compose_page
from ipcv.bench.scenes.screens import compose_screen
from tiny.data import Plan, batches, draw_batch, to_batch
from tiny.prompts import Prompter
from tiny.targets import CELL, DIGITS, IGNORE, MARKS, NO_DIGIT, cell_targets
from tiny.trainer import look_loss
from train_tiny import new_trainer

SIZE = (280, 280)
PLAN = Plan((SIZE, (224, 280)), 800, 3, {"drawn": 1.0, "page": 1.0, "photo": 1.0})


def test_batches_do_not_depend_on_how_many_processes_draw_them() -> None:
    prompter = Prompter(new_trainer().prompter.tokenizer)
    expected = [to_batch(draw_batch(seed, PLAN, prompter)) for seed in range(5, 9)]
    for workers in (1, 3):
        drawn = batches(PLAN, prompter, 5, workers)
        for batch, same in zip(islice(drawn, 4), expected, strict=True):
            assert torch.equal(batch.patches, same.patches)
            assert torch.equal(batch.packed.ids, same.packed.ids)
        drawn.close()


def test_clips_show_each_frame_once_to_the_encoder() -> None:
    prompter = Prompter(new_trainer().prompter.tokenizer)
    lengths = set()
    for seed in range(8):
        batch = to_batch(draw_batch(seed, Plan((SIZE,), 1600, 3, clips=1.0), prompter))
        lengths.add(batch.frames.shape[1])
        assert batch.targets == {}
        assert batch.packed.ids.shape[:2] == (len(batch.frames), 2)
        assert batch.frames.unique().tolist() == [*range(len(batch.patches))]
        assert len(batch.patches.unique(dim=0)) == len(batch.patches)
    assert len(lengths) > 2


def test_looks_at_what_is_named_cost_nothing() -> None:
    prompter = Prompter(new_trainer().prompter.tokenizer)
    sheet = compose_page(random.Random(0), SIZE)
    asked = [q for q in sheet.questions if q.about]
    packed = prompter.collate([prompter.pack(sheet.objects, asked)])
    rows, columns = SIZE[1] // CELL, SIZE[0] // CELL
    right = torch.full((1, len(asked), 3, rows, columns), float("-inf"))
    for i, question in enumerate(asked):
        for k, item in ((0, question.about[0]), (2, question.source)):
            x, y = sheet.objects[item].centre
            right[0, i, k, int(y / CELL), int(x / CELL)] = 0
    wrong = right.flip(2)
    right, wrong = right.flatten(3), wrong.flatten(3)
    assert look_loss([right, right], packed, columns) == 0
    assert look_loss([right, wrong], packed, columns) > 1e3
    assert look_loss([wrong, right], packed, columns) > 1e3


def at(target: np.ndarray, item: SceneObject) -> list[list[int]]:
    """A target at all cells that an object touches."""
    left, top, right, bottom = item.box
    grid = target.reshape(SIZE[1] // CELL, SIZE[0] // CELL, -1)
    area = grid[top // CELL : -(-bottom // CELL), left // CELL : -(-right // CELL)]
    return area.reshape(-1, target.shape[-1]).tolist()


def test_targets_say_what_a_question_asks_for() -> None:
    seen = set()
    for seed in range(30):
        for compose in (compose_page, compose_screen):
            sheet = compose(random.Random(seed), SIZE)
            targets = cell_targets(sheet.objects, SIZE, sheet.questions)
            for question in sheet.questions:
                shown = sheet.objects[question.source]
                seen.add(question.kind)
                if question.text in MARKS:
                    assert [MARKS.index(question.text)] in at(targets["mark"], shown)
                elif question.kind == "page-cell":
                    place = [int(n) - 1 for n in question.text if n.isdigit()]
                    assert place in at(targets["table"], shown)
                elif question.answer.isdigit():
                    digits = [*map(int, question.answer), NO_DIGIT][:DIGITS]
                    assert digits in at(targets["told_digits"], sheet.objects[question.about[0]])
                else:
                    word = [WORDS.index(question.answer)]
                    assert word in at(targets["told_word"], sheet.objects[question.about[0]])
    assert {"page-title", "page-after", "page-cell", "screen-field", "screen-button"} <= seen


def test_drawn_scenes_have_no_targets_of_pictures() -> None:
    raw = draw_batch(0, Plan((SIZE,), 400), None)
    for name in ("mark", "table", "told_digits", "told_word", "told_colour"):
        assert np.all(raw["targets"][name] == IGNORE)


def test_nothing_is_shown_on_empty_pictures() -> None:
    prompter = Prompter(new_trainer().prompter.tokenizer)
    for pictures in ({"drawn": 1.0}, {"page": 1.0}):
        drawn = draw_batch(3, Plan((SIZE,), 800, 3, pictures), prompter)
        empty = draw_batch(3, Plan((SIZE,), 800, 3, pictures, empty=1.0), prompter)
        assert (drawn["targets"]["kind"] > 0).any()
        assert not empty["targets"]["kind"].any()
        assert (empty["packed"].named == -1).all()
        assert (empty["packed"].labels != IGNORE).any()
