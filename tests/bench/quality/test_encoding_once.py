from pathlib import Path

import pytest

import ipcv
from ipcv.bench.quality.suite import ask, encoding_once
from ipcv.bench.scenes import draw_scene
from ipcv.families import adapter_for
from ipcv.inputs.loading import load


@pytest.mark.parametrize(("ratio", "number"), [(0, 1), (0.65, 1), (0.65, 2)])
def test_encoding_once_changes_no_answer(checkpoint: Path, ratio: float, number: int) -> None:
    model, processor = load(checkpoint)
    images = [draw_scene(seed, (168, 112)).image for seed in range(number)]
    questions = ["What is it?", "Is there a red circle in the picture?", "Why?"]
    with ipcv.compress(model, ipcv.IPCV(prune_layer=1, reduction_ratio=ratio)):
        expected = ask(model, processor, images, questions)
        with encoding_once(adapter_for(model).encoder, number):
            assert ask(model, processor, images, questions) == expected
        assert ask(model, processor, images, questions) == expected
