"""`ipcv doctor`, which has a model's configuration and no weights."""

import json

import pytest

from tests.cli.test_bench import error_of
from tests.cli.test_run import run
from tests.vision.adapters.families import build


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")


def said_of(capsys, folder, *options):
    assert run("doctor", folder, *options) == 0
    return " ".join(capsys.readouterr().out.split())


def test_a_configuration_is_enough(capsys, checkpoint, tmp_path):
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    said = said_of(capsys, tmp_path, "--size", 56, "--size", 112)
    for text in (
        "Qwen2-VL (qwen2_vl)",
        "4 blocks",
        "PackedEncoder",
        "dart, fastv, v2drop",
        "flex_attention is refused",
        "not quantized",
        "served as Qwen2VLForConditionalGeneration",
        "ipcv, adaptive",
        "DART(prune_layer=",
        "56 px 112 px",
    ):
        assert text in said


def test_what_a_model_does_not_take(capsys, tmp_path):
    build("qwen2_5_vl").config.save_pretrained(tmp_path)
    said = said_of(capsys, tmp_path, "--size", 56)
    assert "not tome ToMe does not work" in said
    assert "attend within windows" in said
    build("dinov2").config.save_pretrained(tmp_path)
    said = said_of(capsys, tmp_path, "--size", 56)
    assert "none that can be compressed" in said
    assert "not served" in said


def test_quantized_weights_are_named(capsys, tmp_path):
    config = build("dinov2").config.to_dict() | {"quantization_config": {"quant_method": "awq"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "quantized by awq" in said_of(capsys, tmp_path, "--size", 56)


def test_bad_input(capsys, tmp_path):
    assert "neither a folder" in error_of(capsys, "doctor", tmp_path / "none")
    assert "cannot load" in error_of(capsys, "doctor", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert "'bert' is not supported" in error_of(capsys, "doctor", tmp_path)
    build("dinov2").config.save_pretrained(tmp_path)
    assert "at least 28 pixels" in error_of(capsys, "doctor", tmp_path, "--size", 1)
