"""`ipcv run` on a checkpoint of every family, as its files lie on disk."""

import json

import pytest
from PIL import Image

from ipcv.cli import main
from tests.checkpoints import save
from tests.processors import PROCESSORS


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of PaliGemma's processor
@pytest.mark.parametrize("name", PROCESSORS)
def test_run(name, tmp_path, image, capsys, monkeypatch):
    monkeypatch.setattr("ipcv.bench.cost.measure.REPETITIONS", 1)
    if name == "smolvlm":
        pytest.importorskip("num2words", reason="the processor of SmolVLM wants it")
    checkpoint = save(name, tmp_path / name)
    small = tmp_path / "small.png"
    Image.radial_gradient("L").resize((40, 40)).convert("RGB").save(small)
    options = ["--model", checkpoint, "--device", "cpu", "--max-new-tokens", 2, "--json"]
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in ("run", *options, image, small, "What is it?")])
    output = capsys.readouterr()
    assert not stop.value.code, output.err
    report = json.loads(output.out)
    compressed, uncompressed = report["compressed"], report["uncompressed"]
    assert 0 < compressed["patches_kept"] < compressed["patches"] == uncompressed["patches"]
    assert compressed["new_tokens"] in (1, 2)
    assert 0 < report["visual_token_cosine"] < 1
    assert report["encoder_flops_ratio"] > 1
