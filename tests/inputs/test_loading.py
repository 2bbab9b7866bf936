import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import Dinov2Config

from ipcv.inputs.loading import load


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_loads_in_eval_mode_and_float32_on_cpu(checkpoint: Path) -> None:
    model, _ = load(checkpoint, device="cpu")
    assert not model.training
    assert model.dtype == torch.float32


def test_dtype(checkpoint: Path) -> None:
    model, _ = load(checkpoint, device="cpu", dtype="bfloat16")
    assert model.dtype == torch.bfloat16


def test_unknown_path() -> None:
    with pytest.raises(ValueError, match="neither a folder nor a hub id"):
        load("/no/such/folder", device="cpu")


def test_unknown_hub_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="cannot load no-one/nothing"):
        load("no-one/nothing", device="cpu")


def test_unsupported_model_type_lists_the_supported(copy: Path) -> None:
    edit_config(copy, model_type="blip-2")
    with pytest.raises(ValueError, match=r"blip-2.*not supported.*qwen2_vl"):
        load(copy, device="cpu")


def test_remote_code_is_refused(copy: Path) -> None:
    edit_config(copy, model_type="mine", auto_map={"AutoConfig": "code.Config"})
    marker = copy / "ran"
    (copy / "code.py").write_text(f"open({str(marker)!r}, 'w')")
    with pytest.raises(ValueError, match="trust_remote_code"):
        load(copy, device="cpu")
    assert not marker.exists()


def test_pickled_weights_are_refused(copy: Path) -> None:
    weights = copy / "model.safetensors"
    torch.save(load_file(weights), copy / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(ValueError, match="safetensors"):
        load(copy, device="cpu")


def test_truncated_weights(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cannot load"):
        load(copy, device="cpu")


def test_encoder_alone_answers_no_questions(tmp_path: Path) -> None:
    Dinov2Config().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="encoder alone"):
        load(tmp_path, device="cpu")


def test_code_beside_a_known_type_does_not_run(copy: Path) -> None:
    edit_config(copy, auto_map={"AutoModelForImageTextToText": "code.Model"})
    marker = copy / "ran"
    (copy / "code.py").write_text(f"open({str(marker)!r}, 'w')")
    load(copy, device="cpu")
    assert not marker.exists()


@pytest.mark.parametrize("options", [{"dtype": "int8"}, {"device": "abacus"}])
def test_unknown_dtype_and_device(checkpoint: Path, options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"int8|abacus"):
        load(checkpoint, **options)
