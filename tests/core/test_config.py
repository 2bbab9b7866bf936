"""Settings are frozen, checked when made, and survive JSON."""

import dataclasses
import json

import numpy as np
import pytest
import torch

import ipcv
from ipcv.baselines import CDPruner, DivPrune, DropCopies, PixelPrune, RunLength, VisionZip
from ipcv.settings.methods import LANGUAGE

SETTINGS = [
    ipcv.IPCV(prune_layer=2, reduction_ratio=0.5, scope="batch"),
    ipcv.IPCV(prune_layer=0, selector="norm"),
    ipcv.Adaptive(0.4, smooth_share=1.0),
    ipcv.IPCV(selector="uniform", reconstruction="none"),
    ipcv.DART(prune_layer=3, reduction_ratio=0.65, normalize=False),
    ipcv.FastV(prune_layer=3),
    ipcv.V2Drop(stages=((3, 0.25), (16, 0.05), (22, 0.0))),
    ipcv.RandomDrop(0, seed=7),
    CDPruner(reduction_ratio=0.5),
    DivPrune(reduction_ratio=0.5),
    DropCopies(reduction_ratio=0.4),
    PixelPrune(0.4),
    RunLength(0.4),
    VisionZip(reduction_ratio=0.75, contextual_ratio=0.25),
]
each = pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: type(settings).__name__)


@each
def test_round_trip(settings):
    read = type(settings).from_dict(json.loads(json.dumps(settings.to_dict())))
    assert read == settings
    assert hash(read) == hash(settings)


@each
def test_frozen(settings):
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.reduction_ratio = 0.5


@each
def test_unknown_setting(settings):
    with pytest.raises(ValueError, match="has no setting colour"):
        type(settings).from_dict({"colour": 1})


WRONG = [
    (ipcv.IPCV, {"prune_layer": 0}),
    (ipcv.IPCV, {"prune_layer": 0, "selector": "difference"}),
    (ipcv.IPCV, {"prune_layer": -1, "selector": "norm"}),
    (ipcv.IPCV, {"prune_layer": True}),
    (ipcv.IPCV, {"prune_layer": np.bool_(True)}),
    (ipcv.IPCV, {"prune_layer": np.int64(0)}),
    (ipcv.IPCV, {"reduction_ratio": 1}),
    (ipcv.IPCV, {"reduction_ratio": float("nan")}),
    (ipcv.IPCV, {"stabilization_layers": -1}),
    (ipcv.IPCV, {"num_neighbors": 0}),
    (ipcv.IPCV, {"scope": "image"}),
    (ipcv.IPCV, {"selector": "best"}),
    (ipcv.IPCV, {"reconstruction": None}),
    (ipcv.DART, {"prune_layer": 0}),
    (ipcv.DART, {"reduction_ratio": -0.1}),
    (ipcv.DART, {"image_pivots": 0}),
    (ipcv.DART, {"text_pivots": -1}),
    (ipcv.DART, {"normalize": "yes"}),
    (ipcv.FastV, {"prune_layer": 1.5}),
    (ipcv.FastV, {"reduction_ratio": "half"}),
    (ipcv.RandomDrop, {"reduction_ratio": 1.0}),
    (ipcv.RandomDrop, {"seed": -1}),
    (ipcv.RandomDrop, {"prune_layer": -1}),
    (CDPruner, {"reduction_ratio": 1}),
    (VisionZip, {"reduction_ratio": -0.1}),
    (VisionZip, {"contextual_ratio": 1.0}),
    (VisionZip, {"contextual_ratio": True}),
    (ipcv.V2Drop, {"stages": ()}),
    (ipcv.V2Drop, {"stages": 3}),
    (ipcv.V2Drop, {"stages": "3"}),
    (ipcv.V2Drop, {"stages": (3, 0.5)}),
    (ipcv.V2Drop, {"stages": ((0, 0.5),)}),
    (ipcv.V2Drop, {"stages": ((3, 1.5),)}),
    (ipcv.V2Drop, {"stages": ((3, True),)}),
    (ipcv.V2Drop, {"stages": ((3, 0.5), (3, 0.2))}),
    (ipcv.V2Drop, {"stages": ((3, 0.2), (4, 0.5))}),
]


@pytest.mark.parametrize(("cls", "wrong"), WRONG)
def test_out_of_range(cls, wrong):
    with pytest.raises(ValueError, match=r"must|a stage"):
        cls(**wrong)


@pytest.mark.parametrize("layer", [3, np.int64(3), torch.tensor(3)])
def test_integers_of_other_libraries(layer):
    for settings in (ipcv.IPCV(layer), ipcv.DART(layer), ipcv.V2Drop(((layer, 0.5),))):
        assert type(settings).from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    assert type(ipcv.IPCV(layer).prune_layer) is int


@pytest.mark.parametrize("method", LANGUAGE.values())
def test_defaults_are_for_the_reference_depth(method):
    assert method().scaled(method.reference_depth) == method()


def test_published_language_sides_are_for_28_layers():
    for published in (ipcv.DART(3, 0.65, normalize=False), ipcv.FastV(3, 0.65)):
        assert published.scaled(28) == published


def test_names_of_the_methods():
    names = ["dart", "fastv", "v2drop", "random-drop", "visionzip", "cdpruner", "divprune"]
    names += ["drop-copies"]
    assert list(LANGUAGE) == names
    assert all(LANGUAGE[name]().prune_layers for name in LANGUAGE)
