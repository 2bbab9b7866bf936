"""What a user typed, over what is saved, over the preset."""

import pytest

import ipcv
from ipcv.baselines import ToMe
from ipcv.settings.typed import Given, parse_pairs

PRESET, PUBLISHED = ipcv.Adaptive(0.7), ipcv.IPCV(4, 0.65, 2)


def vision(*arguments, **named):
    return Given(*arguments, **named).vision_for(PRESET, PUBLISHED)


def test_pairs():
    pairs = ["prune_layer=2", "selector=norm", "stages=[[2, 0.5]]", "note=a=b"]
    expected = {"prune_layer": 2, "selector": "norm", "stages": [[2, 0.5]], "note": "a=b"}
    assert parse_pairs(pairs) == expected
    assert parse_pairs(None) == {}


@pytest.mark.parametrize("pair", ["prune_layer", "=2", ""])
def test_no_pair(pair):
    with pytest.raises(ValueError, match="is no setting: write it like prune_layer=2"):
        parse_pairs([pair])


def test_what_is_not_given_comes_from_the_first_preset_of_the_method():
    assert vision() == PRESET
    assert vision(None, {"reduction_ratio": 0.5}) == ipcv.Adaptive(0.5)
    assert vision("adaptive", {"smooth_share": 0}) == ipcv.Adaptive(0.7, smooth_share=0)
    assert vision("ipcv", {"num_neighbors": 3}) == ipcv.IPCV(4, 0.65, 2, 3)
    assert vision("ToMe", {"r": 0.1}) == ToMe(0.1)


def test_a_file_goes_before_the_presets(tmp_path):
    path = tmp_path / "ipcv.json"
    ipcv.save(path, ipcv.Preset(ipcv.IPCV(1, 0.3)))
    assert vision(file=path) == ipcv.IPCV(1, 0.3)
    assert vision("ipcv", {"reduction_ratio": 0.4}, file=path) == ipcv.IPCV(1, 0.4)
    assert vision("adaptive", file=path) == PRESET


def test_a_setting_is_refused_before_any_model_where_no_method_has_it():
    Given(vision={"smooth_share": 0.5})
    with pytest.raises(ValueError, match="IPCV has no setting colour"):
        Given(vision={"colour": 1})
    with pytest.raises(ValueError, match="Adaptive has no setting selector"):
        vision(None, {"selector": "norm"})
