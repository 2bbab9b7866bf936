from pathlib import Path

import pytest
from PIL import Image

from ipcv.baselines import Downsample
from ipcv.bench.quality.evaluation import Suite
from ipcv.bench.quality.records import Records
from ipcv.bench.quality.suite import answer_prior, ask, ask_variant, evaluate_scenes
from ipcv.bench.scenes import Question, Scene, draw_scene
from ipcv.bench.variants import Variant
from ipcv.inputs.loading import load


def test_prior_takes_the_most_frequent_answer_of_each_kind() -> None:
    answers = {"exists": ["yes", "no", "yes"], "count": ["1", "2", "2", "2"]}
    questions = [Question(kind, "?", answer) for kind in answers for answer in answers[kind]]
    assert answer_prior(questions) == {"exists": (2, 3), "count": (3, 4)}


def test_questions_of_a_batch_do_not_depend_on_each_other(checkpoint: Path) -> None:
    model, processor = load(checkpoint)
    image = draw_scene(0, (112, 112)).image
    questions = ["What is it?", "Is there a red circle in the picture?", "Why?"]
    together = ask(model, processor, [image], questions)
    assert together == [ask(model, processor, [image], [question])[0] for question in questions]
    assert all(together)


QUESTIONS = (
    Question("read", "?", "12"),
    Question("exists", "?", "no"),
    Question("exists", "?", "no"),
)
SCENES = [Scene(draw_scene(seed, (112, 112)).image, (), QUESTIONS) for seed in range(2)]


def test_only_exact_answers_count(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = load(checkpoint)
    sizes = []

    def answers(model: object, processor: object, images: list[Image.Image], questions: list[str]):
        sizes.extend(image.width for image in images)
        return ["12", "yes", "No"]

    monkeypatch.setattr("ipcv.bench.quality.suite.ask", answers)
    variants = {"uncompressed": Variant(), "downsample 0.75": Variant(downsample=Downsample(0.5))}
    records = Records(None, {})
    evaluate_scenes(model, processor, SCENES, variants, records)
    assert sizes == [112, 56, 112, 56]
    assert [(row["scene"], row["variant"]) for row in records.rows] == [
        (scene, variant) for scene in range(2) for variant in variants
    ]
    for row in records.rows:
        assert row["kinds"] == ["read", "exists", "exists"]
        assert row["right"] == [True, False, False]


def test_what_is_recorded_is_not_asked_again(checkpoint: Path) -> None:
    model, processor = load(checkpoint)
    records, variants = Records(None, {}), {"uncompressed": Variant()}
    evaluate_scenes(model, processor, SCENES[:1], variants, records)
    (first,) = records.rows
    evaluate_scenes(model, processor, SCENES, variants, records)
    assert records.rows[0] is first
    assert [row["scene"] for row in records.rows] == [0, 1]
    assert ask_variant(model, processor, SCENES[0], Variant())[1] > 0


def test_the_side_of_pictures() -> None:
    (scene,) = Suite(1, side=224).scenes
    assert scene.image.size == (224, 224)
    with pytest.raises(ValueError, match="at least 224"):
        Suite(1, side=100)
