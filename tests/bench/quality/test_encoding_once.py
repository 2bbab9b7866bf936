from pathlib import Path

import pytest

import ipcv
from ipcv.bench.quality.suite import ask, encoding_once
from ipcv.bench.scenes import draw_scene
from ipcv.families import adapter_for
from ipcv.inputs.loading import load


@pytest.mark.parametrize("ratio", [0, 0.65])
def test_encoding_once_changes_no_answer(checkpoint: Path, ratio: float) -> None:
    model, processor = load(checkpoint)
    image = draw_scene(0, (168, 112)).image
    questions = ["What is it?", "Is there a red circle in the picture?", "Why?"]
    with ipcv.compress(model, ipcv.IPCV(prune_layer=1, reduction_ratio=ratio)):
        expected = ask(model, processor, image, questions)
        with encoding_once(adapter_for(model).encoder):
            assert ask(model, processor, image, questions) == expected
        assert ask(model, processor, image, questions) == expected
