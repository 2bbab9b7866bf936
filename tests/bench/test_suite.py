from pathlib import Path

import pytest

from ipcv.bench.scenes import Question, Scene, draw_scene
from ipcv.bench.suite import answer_prior, ask, evaluate
from ipcv.loading import load


def test_prior_takes_the_most_frequent_answer_of_each_kind() -> None:
    answers = {"exists": ["yes", "no", "yes"], "count": ["1", "2", "2", "2"]}
    questions = [Question(kind, "?", answer) for kind in answers for answer in answers[kind]]
    prior = answer_prior(questions)
    assert prior.by_kind == {"exists": 2 / 3, "count": 3 / 4}
    assert prior.overall == 5 / 7


def test_questions_of_a_batch_do_not_depend_on_each_other(checkpoint: Path) -> None:
    model, processor = load(checkpoint)
    image = draw_scene(0, (112, 112)).image
    questions = ["What is it?", "Is there a red circle in the picture?", "Why?"]
    together = ask(model, processor, image, questions)
    assert together == [ask(model, processor, image, [question])[0] for question in questions]
    assert all(together)


def test_only_exact_answers_count(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = load(checkpoint)
    monkeypatch.setattr("ipcv.bench.suite.ask", lambda *_: ["12", "yes", "No"])
    questions = (
        Question("read", "?", "12"),
        Question("exists", "?", "no"),
        Question("exists", "?", "no"),
    )
    scores = evaluate(model, processor, [Scene(draw_scene(0).image, (), questions)])
    assert scores.by_kind == {"read": 1.0, "exists": 0.0}
    assert scores.overall == 1 / 3
