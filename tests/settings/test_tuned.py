"""Tuned presets are better than the published settings, by the evidence that they name."""

import json
from pathlib import Path

import pytest
from transformers import Dinov2Config, Dinov2Model

import ipcv
from ipcv.bench.variants import method_of
from ipcv.families import FAMILIES
from ipcv.inputs.loading import load
from ipcv.models import TINY

ROOT = Path(__file__).parents[2]
KINDS = dict.fromkeys(kind for family in FAMILIES for kind in family.encoders)
TUNED = [tuned for kind in KINDS for tuned in kind.tuned.values()]


def small():
    config = Dinov2Config(hidden_size=384, num_hidden_layers=12, num_attention_heads=6, mlp_ratio=1)
    return Dinov2Model(config)


def test_dinov2_small():
    model = small()
    assert ipcv.preset(model).vision == ipcv.Adaptive(0.65)
    assert ipcv.preset(model, published=True).vision == ipcv.IPCV(4, 0.65, 2)
    with ipcv.compress(model, *ipcv.preset(model)):
        pass


def test_the_embedded_model():
    model, _ = load(TINY)
    assert ipcv.preset(model).vision == ipcv.Adaptive(0.5, smooth_share=1.0)
    assert ipcv.preset(model, published=True).vision == ipcv.IPCV(2, 0.65, 2)
    with ipcv.compress(model, *ipcv.preset(model)):
        pass


@pytest.mark.parametrize("tuned", TUNED, ids=lambda tuned: tuned.evidence)
def test_evidence_is_there_and_says_so(tuned):
    """In less time above the published settings' interval, and above smaller pictures in theirs."""
    results = json.loads((ROOT / tuned.evidence).read_text())
    ours, published = (results["variants"][name] for name in (tuned.variant, "published 0.65"))
    score = "cosine" if "cosine" in ours else "overall"
    assert ours["time"] < published["time"]
    assert ours[score][0] > published[score][2]
    gains = results["at_equal_time"]["gains"]["downsample"][method_of(tuned.variant)]
    measured = [gain for gain in gains if gain is not None]
    assert len(measured) > 4
    assert all(low > 0 for _, low, _ in measured)
