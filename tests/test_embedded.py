"""The shipped model loads like any checkpoint, answers by looking, and survives compression."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoTokenizer

import ipcv
from ipcv.bench.quality.records import Records
from ipcv.bench.quality.suite import evaluate_scenes, held_out_scenes
from ipcv.bench.scenes import Scene
from ipcv.bench.variants import Variant
from ipcv.inputs.loading import load
from ipcv.models import EXAMPLE, TINY
from write_tables import COMPARED, SHOWN

ROOT = Path(__file__).parents[1]
QUESTIONS = 60


@pytest.fixture(scope="module")
def score() -> Callable[..., float]:
    model, processor = load(TINY)

    def run(variant: Variant, scenes: Iterable[Scene]) -> float:
        records = Records(None, {})
        evaluate_scenes(model, processor, scenes, {"": variant}, records)
        right = [result for row in records.rows for result in row["right"]]
        return sum(right) / len(right)

    return run


def test_loads_as_any_checkpoint() -> None:
    model = AutoModelForImageTextToText.from_pretrained(TINY)
    assert model.config.model_type == "qwen2_vl"
    assert model.dtype == torch.bfloat16
    assert len(model.model.visual.blocks) >= 8
    assert model.generation_config.do_sample is False
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    text = "Is the red circle left of the blue square?"
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer.chat_template


def test_files_are_small() -> None:
    assert sum(path.stat().st_size for path in TINY.iterdir()) < 16 * 2**20
    with Image.open(EXAMPLE) as image:
        assert image.size == (448, 448)


@pytest.mark.slow
def test_it_answers_by_looking(score: Callable[..., float]) -> None:
    scenes = list(held_out_scenes(QUESTIONS))
    blank = Image.new("RGB", scenes[0].image.size, (128, 128, 128))
    assert score(Variant(), scenes) >= 0.8
    assert score(Variant(), [replace(scene, image=blank) for scene in scenes]) <= 0.5


@pytest.mark.slow
def test_compression_keeps_most_answers(score: Callable[..., float]) -> None:
    assert score(Variant(ipcv.preset(load(TINY)[0]).vision), held_out_scenes(QUESTIONS)) >= 0.85


def test_card_and_readme_show_the_measured_scores() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "suite.json").read_text())
    assert results["variants"].keys() > {*SHOWN, *COMPARED}
    for path, names in (
        (TINY / "README.md", results["variants"]),
        (ROOT / "README.md", SHOWN),
        (ROOT / "docs" / "which-method.md", COMPARED),
    ):
        text = path.read_text()
        for name in names:
            row = results["variants"][name]
            assert f"| {name} | {100 * row['overall'][0]:.1f} ±" in text, (path, name)
