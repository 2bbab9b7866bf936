"""Methods by name."""

from dataclasses import replace

import pytest

import ipcv
from ipcv.bench.variants import (
    ABLATIONS,
    DECODER_METHODS,
    METHODS,
    VISION_METHODS,
    changed,
    make_variants,
)
from tests.language.tiny import build as build_deep
from tests.vision.adapters.families import build


def variant(name, ratio=0.6, model=None):
    return make_variants(model or build("qwen2_vl"), [name], [ratio])[f"{name} {ratio:g}"]


def test_ipcv_is_the_preset():
    assert variant("ipcv").vision == ipcv.Adaptive(0.6)


def test_pruning_methods_are_the_published_preset_with_other_parts():
    settings = ipcv.preset(build("qwen2_vl"), published=True).vision
    for name, selector, reconstruction in (
        ("published", "difference", "mean"),
        ("random", "random", "mean"),
        ("uniform", "uniform", "mean"),
        ("random-no-ngr", "random", "none"),
        ("uniform-no-ngr", "uniform", "none"),
        ("prune-only", "difference", "none"),
    ):
        method = variant(name).vision
        assert type(method) is ipcv.IPCV
        assert (method.selector, method.reconstruction) == (selector, reconstruction)
        assert method.reduction_ratio == 0.6
        assert method.prune_layer == settings.prune_layer
        kept = 0 if name == "prune-only" else settings.stabilization_layers
        assert method.stabilization_layers == kept


def test_equal_ratios_remove_equally_many_tokens():
    assert variant("downsample", 0.75).downsample.factor == 0.5
    merging = variant("tome").vision
    assert sum(merging.removed_per_block(1000, 4)) == 600
    assert sum(variant("tome-decreasing").vision.removed_per_block(1000, 4)) == 600


def test_language_methods_and_sums():
    model = build_deep("qwen2_vl")
    for name in DECODER_METHODS:
        both = variant(f"ipcv+{name}", model=model)
        assert both.vision.reduction_ratio == 0.6
        assert both.language is not None
    assert variant("v2drop", model=model).language.stages[0][1] == pytest.approx(0.4)


def test_uncompressed_comes_first():
    assert list(make_variants(build("dinov2"), ["ipcv"], [0.5, 0.35])) == [
        "uncompressed",
        "ipcv 0.5",
        "ipcv 0.35",
    ]


@pytest.mark.parametrize(
    ("method", "ratio", "message"),
    [
        ("best", 0.5, "must be one of ipcv"),
        ("mixed-resolution", 0.5, "use the method adaptive, with smooth_share 1.0"),
        ("ipcv+random", 0.5, "sets vision twice"),
        ("ipcv", 1.0, r"ratio must be a number in \[0, 1\)"),
        ("dart", 0.5, "language side"),
    ],
)
def test_bad_names(method, ratio, message):
    with pytest.raises(ValueError, match=message):
        make_variants(build("dinov2"), [method], [ratio])


def test_settings_go_to_the_methods_that_have_them():
    made = make_variants(build("dinov2"), ["published", "tome", "downsample"], [0.5])
    other = changed(made, {"selector": "random"})
    assert list(other) == list(made)
    assert other["published 0.5"].vision == replace(made["published 0.5"].vision, selector="random")
    assert {name for name in made if other[name] != made[name]} == {"published 0.5"}
    assert changed(made, {}) == made


@pytest.mark.parametrize(
    ("methods", "settings", "message"),
    [
        (["published"], {"selector": "best"}, "selector must be one of"),
        (["tome", "published"], {"smooth_share": 0.5}, "ToMe has no setting smooth_share; it has"),
        (["downsample"], {"selector": "random"}, "there is none"),
    ],
)
def test_settings_that_nothing_takes(methods, settings, message):
    with pytest.raises(ValueError, match=message):
        changed(make_variants(build("dinov2"), methods, [0.5]), settings)


def test_every_method_runs():
    model = build_deep("qwen2_vl")
    for name in METHODS:
        with variant(name, model=model).applied(model):
            pass
    assert set(METHODS) == {*VISION_METHODS, *ABLATIONS, *DECODER_METHODS}
