import dataclasses
from pathlib import Path
from typing import Any

import pytest

import ipcv
from ipcv.inputs.loading import load
from ipcv.integrations.lmms_eval.arguments import ModelArguments
from ipcv.models import TINY
from ipcv.settings.presets import Preset


def parse(**given: Any) -> ModelArguments:
    return ModelArguments.parse({"pretrained": "a/b"} | given)


def test_every_setting_is_an_argument() -> None:
    settings = ipcv.IPCV(prune_layer=5, reduction_ratio=0.5, scope="batch").to_dict()
    assert set(settings) == {field.name for field in dataclasses.fields(ipcv.IPCV)}
    assert ipcv.IPCV(**parse(**settings).given.vision) == ipcv.IPCV(**settings)


def test_values_as_lmms_eval_leaves_them() -> None:
    given = parse(batch_size="4", language="v2drop", language_stages="[[2, 0.5], [4, 0.25]]")
    assert given.batch_size == 4
    assert given.given.language == {"stages": [[2, 0.5], [4, 0.25]]}


def test_missing_settings_come_from_the_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = load(TINY, device="cpu")
    monkeypatch.setattr("ipcv.integrations.lmms_eval.arguments.compress", lambda *args: args)
    preset = ipcv.preset(model)
    vision = dataclasses.replace(preset.vision, reduction_ratio=0.5)
    assert parse(reduction_ratio=0.5).apply(model) == (model, vision, None)
    assert isinstance(preset.language, ipcv.DART)
    dart = dataclasses.replace(preset.language, reduction_ratio=0.3)
    given = parse(language="dart", language_reduction_ratio=0.3)
    assert given.apply(model) == (model, preset.vision, dart)


def test_a_file_of_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model, _ = load(TINY, device="cpu")
    monkeypatch.setattr("ipcv.integrations.lmms_eval.arguments.compress", lambda *args: args)
    saved = Preset(ipcv.Adaptive(0.7), ipcv.DART(prune_layer=2, reduction_ratio=0.3))
    ipcv.save(tmp_path / "ipcv.json", saved)
    settings = str(tmp_path / "ipcv.json")
    assert parse(settings=settings).apply(model) == (model, *saved)
    changed = parse(settings=settings, reduction_ratio=0.5).apply(model)
    assert changed == (model, ipcv.Adaptive(0.5), saved.language)
    other = parse(settings=settings, method="tome", r="0.1", language="dart").apply(model)
    assert other == (model, ipcv.baselines.ToMe(0.1), saved.language)
    with pytest.raises(ValueError, match="cannot be read"):
        parse(settings=str(tmp_path / "missing.json"))


def test_uncompressed() -> None:
    model, _ = load(TINY, device="cpu")
    assert parse(compress=False).apply(model) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pretrained": ""}, "pretrained is missing"),
        ({"prune_layr": 3}, r"unknown setting prune_layr: use .*prune_layer.*language_<setting>"),
        ({"max_batch_size": 8}, "unknown setting max_batch_size"),
        ({"prune_layer": 0}, "prune_layer must be an integer of at least 1"),
        ({"reduction_ratio": "half"}, "reduction_ratio must be a number"),
        ({"compress": "no"}, "compress must be true or false, got 'no'"),
        ({"compress": False, "prune_layer": 3}, "leaves nothing for settings to apply to"),
        ({"compress": False, "language": "dart"}, "leaves nothing for settings to apply to"),
        ({"batch_size": "auto"}, "batch_size must be an integer of at least 1, got 'auto'"),
        ({"num_frames": 0}, "num_frames must be an integer"),
        ({"downsample": 2}, r"downsample: factor must be a number in \(0, 1\]"),
        ({"language": "darts"}, "unknown method 'darts': use one of dart"),
        ({"language": "dart", "language_pivots": 3}, "DART has no setting pivots"),
        ({"language_prune_layer": 3}, "needs a method"),
        ({"method": "best"}, "unknown method 'best': use one of ipcv"),
        ({"method": "tome", "prune_layer": 3}, "ToMe has no setting prune_layer"),
        ({"settings": 3}, "settings must name a file, got 3"),
    ],
)
def test_bad_arguments_are_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        parse(**given)
    assert "\n" not in str(error.value)
