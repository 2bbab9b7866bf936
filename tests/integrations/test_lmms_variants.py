"""Variants of the benchmarks as arguments of lmms-eval's model."""

import pytest

import ipcv
from ipcv import baselines
from ipcv.bench.variants import Variant
from ipcv.integrations.lmms_eval.arguments import ModelArguments, arguments_of
from tests.vision.adapters.families import build

PARTS = [
    Variant(ipcv.IPCV(1, 0.5, selector="uniform")),
    Variant(language=ipcv.DART(prune_layer=1)),
    Variant(ipcv.IPCV(1, 0.5), ipcv.FastV(prune_layer=1)),
    Variant(ipcv.Adaptive(0.5), ipcv.RandomDrop(prune_layer=1)),
    Variant(baselines.ToMe(0.1, "decreasing")),
]


@pytest.mark.parametrize("variant", PARTS, ids=str)
def test_round_trip(variant):
    arguments = ModelArguments.parse({"pretrained": "x"} | arguments_of(variant))
    vision, language = arguments.given.for_model(build("qwen2_vl"))
    assert language == variant.language
    assert vision == variant.vision or (variant.vision is None and vision.reduction_ratio == 0)


def test_nothing_to_compress():
    assert arguments_of(Variant()) == {"compress": False}
    shrunk = arguments_of(Variant(downsample=baselines.Downsample(0.5)))
    assert shrunk == {"compress": False, "downsample": 0.5}
