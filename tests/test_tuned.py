"""Tuned presets are better than the published settings, by the evidence that they name."""

import json
from pathlib import Path

import pytest
from transformers import Dinov2Config, Dinov2Model

import ipcv
from ipcv.presets import TUNED

ROOT = Path(__file__).parents[1]


def small():
    config = Dinov2Config(hidden_size=384, num_hidden_layers=12, num_attention_heads=6, mlp_ratio=1)
    return Dinov2Model(config)


def test_dinov2_small():
    model = small()
    assert ipcv.preset(model).vision == ipcv.Progressive(0.8)
    assert ipcv.preset(model, published=True).vision == ipcv.IPCV(4, 0.65, 2)
    with ipcv.compress(model, *ipcv.preset(model)):
        pass


@pytest.mark.parametrize("tuned", TUNED.values(), ids=lambda tuned: tuned.evidence)
def test_evidence_is_there_and_says_so(tuned):
    variants = json.loads((ROOT / tuned.evidence).read_text())["variants"]
    ours, published = variants["progressive 0.8"], variants["published 0.65"]
    assert ours["time"] < published["time"]
    assert ours["cosine"][1] > published["cosine"][2]  # the intervals do not even touch
