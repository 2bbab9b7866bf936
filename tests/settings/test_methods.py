"""Settings survive a file, and what is wrong with one is said in a line."""

import json

import pytest

import ipcv
from ipcv.baselines import ToMe
from ipcv.settings.methods import LANGUAGE, REMOVED, VISION, method_class
from ipcv.vision.reconstruction import RECONSTRUCTORS
from ipcv.vision.selectors import SELECTORS
from tests.vision.adapters.families import build

SETTINGS = [
    ipcv.Preset(ipcv.IPCV(2, 0.5, 1, 4, selector="uniform", reconstruction="none")),
    ipcv.Preset(ipcv.Adaptive(0.6, smooth_share=1.0), ipcv.DART(reduction_ratio=0.4)),
    ipcv.Preset(ToMe(0.02, "decreasing"), ipcv.V2Drop(stages=((3, 0.5), (5, 0.25)))),
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_round_trip(settings, tmp_path):
    path = tmp_path / "ipcv.json"
    ipcv.save(path, settings, {"why": [1, 2]})
    assert ipcv.load(path) == settings
    assert type(ipcv.load(str(path)).vision) is type(settings.vision)
    assert json.loads(path.read_text())["evidence"] == {"why": [1, 2]}


def test_compress_takes_what_is_loaded(tmp_path):
    ipcv.save(tmp_path / "ipcv.json", ipcv.Preset(ipcv.IPCV(1)))
    with ipcv.compress(build("dinov2"), *ipcv.load(tmp_path / "ipcv.json")):
        pass


def test_every_method_has_a_name():
    for known in (VISION, LANGUAGE):
        for name, method in known.items():
            assert method_class(name, known) is method_class(method.__name__, known) is method
            assert method().to_dict()


@pytest.mark.parametrize("name", REMOVED)
@pytest.mark.parametrize("key", ["method", "selector", "reconstruction"])
def test_what_was_removed_is_named_with_its_successor(name, key, tmp_path, monkeypatch):
    for rules in (SELECTORS, RECONSTRUCTORS):
        monkeypatch.delitem(rules, name, raising=False)
    path = tmp_path / "ipcv.json"
    path.write_text(json.dumps({"vision": {"method": "IPCV", key: name}}))
    with pytest.raises(ValueError, match=f"{name} was removed: use the ") as error:
        ipcv.load(path)
    assert REMOVED[name] in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "are no JSON"),
        (b"\xff\xfe\x00", "no text in UTF-8"),
        ("[]", 'with "vision" is needed'),
        ('{"language": null}', 'with "vision" is needed'),
        ('{"vision": {}}', "unknown method None: use one of ipcv, "),
        ('{"vision": {"method": "Best"}}', "unknown method 'Best'"),
        ('{"vision": {"method": ["IPCV"]}}', "unknown method"),
        ('{"vision": {"method": "IPCV", "colour": 1}}', "IPCV has no setting colour"),
        ('{"vision": {"method": "IPCV", "prune_layer": 0}}', "prune_layer must be"),
        ('{"vision": {"method": "IPCV"}, "language": 3}', "language must be an object or null"),
        ('{"vision": {"method": "IPCV"}, "language": {"method": "IPCV"}}', "one of dart"),
        ('{"vision": {"method": "IPCV"}, "audio": {}}', "unknown keys audio"),
    ],
)
def test_bad_files(content, message, tmp_path):
    path = tmp_path / "ipcv.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as error:
        ipcv.load(path)
    assert str(path) in str(error.value)


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        ipcv.load(tmp_path / "none.json")
    with pytest.raises(ValueError, match="does not exist"):
        ipcv.save(tmp_path / "none" / "ipcv.json", SETTINGS[0])
