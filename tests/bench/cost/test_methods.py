"""The methods that benchmarks measure are found in the library."""

import ipcv
from ipcv.baselines import Downsample
from ipcv.bench.variants import UNCOMPRESSED
from methods import RATIO, RIVALS, measured_methods, measured_variants
from tests.vision.adapters.families import build


def test_every_method_of_the_library_and_the_rivals_once():
    variants = measured_variants(build("qwen2_vl"))
    published = ipcv.preset("qwen2_vl", published=True).vision
    assert variants.pop(UNCOMPRESSED).vision is None
    assert type(variants["published"].vision) is type(published)
    assert variants["downsample"].downsample == Downsample((1 - RATIO) ** 0.5)
    kinds = [type(variant.vision) for name, variant in variants.items() if name not in RIVALS]
    assert len(kinds) == len(set(kinds))
    assert {ipcv.IPCV, ipcv.Adaptive} <= set(kinds)


def test_what_an_encoder_cannot_take_is_left_out():
    windowed, whole = (measured_methods(build(name)) for name in ("qwen2_5_vl", "qwen2_vl"))
    assert "tome" in whole
    assert "tome" not in windowed
    assert set(windowed) == {"published", "adaptive", "downsample"}
