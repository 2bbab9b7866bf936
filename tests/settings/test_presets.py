import pytest
from transformers import Dinov2Config, Dinov2Model

import ipcv
from ipcv.families import Size, Tuned, find_encoder, supported_model_types
from tests.vision.adapters.families import FAMILIES, build


def test_published_settings():
    assert ipcv.preset("qwen2_vl", published=True).vision == ipcv.IPCV(3, 0.65, 7, 10)
    assert ipcv.preset("internvl", published=True).vision == ipcv.IPCV(7, 0.65, 3, 10)


@pytest.mark.parametrize("model_type", supported_model_types())
def test_every_model_type_has_one(model_type):
    assert ipcv.preset(model_type).vision == ipcv.Adaptive()
    assert ipcv.preset(model_type, published=True).vision.reduction_ratio == 0.65


@pytest.mark.parametrize("name", FAMILIES)
def test_every_tiny_model_takes_its_own(name):
    model = build(name)
    assert ipcv.preset(model).vision == ipcv.Adaptive()
    settings = ipcv.preset(model, published=True).vision
    assert settings.prune_layer == 2  # of 4 blocks
    with ipcv.compress(model, settings):
        pass


@pytest.mark.parametrize(
    ("depth", "prune_layer", "stabilization"), [(24, 7, 3), (12, 4, 2), (48, 14, 6), (2, 1, 0)]
)
def test_fractions_of_the_depth_are_kept(depth, prune_layer, stabilization):
    config = Dinov2Config(
        num_hidden_layers=depth, hidden_size=8, num_attention_heads=2, mlp_ratio=1
    )
    settings = ipcv.preset(Dinov2Model(config), published=True).vision
    assert (settings.prune_layer, settings.stabilization_layers) == (prune_layer, stabilization)


def test_unknown_model_type():
    with pytest.raises(ValueError, match=r"blip.*not supported"):
        ipcv.preset("blip")


def test_tuned_settings_are_for_encoders_of_their_shape(monkeypatch):
    model = build("dinov2")
    before, published = ipcv.preset(model), ipcv.preset(model, published=True)
    tuned = ipcv.IPCV(1, 0.5, selector="uniform")
    kind, _ = find_encoder(model)
    monkeypatch.setitem(kind.tuned, Size(32, 4), Tuned(tuned, "nowhere.json", "ours"))
    assert ipcv.preset(model) == before._replace(vision=tuned)
    assert ipcv.preset(model, published=True) == published
    deeper = Dinov2Config(num_hidden_layers=5, hidden_size=32, num_attention_heads=2)
    assert ipcv.preset(Dinov2Model(deeper)).vision == ipcv.Adaptive()
    assert ipcv.preset(build("dinov2_with_registers")).vision == ipcv.Adaptive()
    assert ipcv.preset("dinov2").vision == ipcv.Adaptive()


@pytest.mark.parametrize("name", FAMILIES)
def test_every_encoder_has_a_size(name, monkeypatch):
    model = build(name)
    kind, _ = find_encoder(model)
    tuned = ipcv.IPCV(1, 0.4)
    monkeypatch.setitem(kind.tuned, Size(32, 4), Tuned(tuned, "nowhere.json", "ours"))
    assert ipcv.preset(model).vision == tuned
