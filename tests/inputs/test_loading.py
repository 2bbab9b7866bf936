import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Dinov2Config

from ipcv.inputs.loading import load
from tests.families.whole import build


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


def test_unsupported_model_type_says_why(copy: Path) -> None:
    edit_config(copy, model_type="chameleon")
    with pytest.raises(ValueError, match=r"chameleon.*not supported.*convolutions"):
        load(copy, device="cpu")


def test_a_model_that_generates_no_text(tmp_path: Path) -> None:
    build("pi0").config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="a pi0 answers no questions: it generates no text"):
        load(tmp_path, device="cpu")


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


def edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def drop_half(weights: dict[str, torch.Tensor]) -> None:
    for name in sorted(weights)[::2]:
        del weights[name]


NORM = "visual.merger.ln_q.weight"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (drop_half, r"without .* and \d+ more"),
        (lambda w: w.pop(NORM), r"without .*ln_q\.weight"),
        (lambda w: w.clear(), r"layers, its weights are 0"),
        (lambda w: w.update({NORM: torch.ones(3)}), r"wrong shapes .*ln_q\.weight \(\[3\] for \["),
        (lambda w: w.update(extra=torch.ones(3)), "with unknown extra"),
    ],
)
def test_every_tensor_counts(
    copy: Path, edit: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    edit_weights(copy, edit)
    with pytest.raises(ValueError, match=message):
        load(copy, device="cpu")


def shard(folder: Path, name: str, path: Path | None = None) -> None:
    """Weights at a path, or in the folder, which an index names so."""
    weights = folder / "model.safetensors"
    names = dict.fromkeys(load_file(weights), name)
    weights.rename(path or folder / name)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": names})
    )


def test_shards(copy: Path) -> None:
    shard(copy, "model-00001-of-00001.safetensors")
    load(copy, device="cpu")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../copy.safetensors", "not in the folder"),
        ("ABSOLUTE/copy.safetensors", "not in the folder"),
        ("weights.bin", "no safetensors"),
        ("/dev/zero", "not in the folder"),
        ("", "not in the folder"),
    ],
)
def test_an_index_that_names_something_else(copy: Path, name: str, message: str) -> None:
    name = name.replace("ABSOLUTE", str(copy.parent))
    shard(copy, name, copy.parent / "copy.safetensors")
    with pytest.raises(ValueError, match=message):
        load(copy, device="cpu")


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": []}}']
)
def test_an_index_that_is_none(copy: Path, content: str) -> None:
    shard(copy, "a.safetensors")
    (copy / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ValueError, match=r"is no JSON|holds no object|maps no tensors"):
        load(copy, device="cpu")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
@pytest.mark.parametrize("target", ["FIFO", "/dev/zero", "OUTSIDE", "nowhere"])
def test_files_that_are_none(copy: Path, name: str, target: str) -> None:
    path, outside = copy / name, copy.parent / name
    path.rename(outside)
    if target == "FIFO":
        os.mkfifo(path)
    else:
        path.symlink_to(target.replace("OUTSIDE", str(outside)))
    with pytest.raises(ValueError, match=r"not a file|link out|cannot be read"):
        load(copy, device="cpu")


def test_links_as_the_hub_makes_them(checkpoint: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "model" / "blobs", tmp_path / "model" / "snapshots" / "abc"
    shutil.copytree(checkpoint, blobs)
    snapshot.mkdir(parents=True)
    for path in blobs.iterdir():
        (snapshot / path.name).symlink_to(Path("../../blobs") / path.name)
    load(snapshot, device="cpu")


@pytest.mark.parametrize("name", ["preprocessor_config.json", "tokenizer_config.json"])
@pytest.mark.parametrize(("content", "message"), [("[]", "holds no object"), ("{", "is no JSON")])
def test_settings_that_are_none(copy: Path, name: str, content: str, message: str) -> None:
    (copy / name).write_text(content)
    with pytest.raises(ValueError, match=f"{name} {message}"):
        load(copy)


def test_an_adapter_of_another_checkpoint(copy: Path) -> None:
    (copy / "adapter_config.json").write_text('{"base_model_name_or_path": "/elsewhere"}')
    with pytest.raises(ValueError, match="PEFT adapter"):
        load(copy, device="cpu")


def test_weights_of_another_name(copy: Path) -> None:
    edit_config(copy, transformers_weights="adapter_model.bin")
    with pytest.raises(ValueError, match="transformers_weights"):
        load(copy, device="cpu")


@pytest.mark.parametrize(
    "changes",
    [
        {"text_config": 3},
        {"vision_config": {"depth": 10**9}},
        {"text_config": {"vocab_size": 10**12}},
        {"text_config": {"num_attention_heads": 0}},
        {"model_type": ["a"]},
    ],
)
def test_config_values_that_are_wrong(copy: Path, changes: dict[str, object]) -> None:
    edit_config(copy, **changes)
    with pytest.raises(ValueError, match="cannot load"):
        load(copy, device="cpu")


def cached(checkpoint: Path, cache: Path) -> None:
    """The checkpoint as the hub's `some/model`."""
    repository = cache / "models--some--model"
    shutil.copytree(checkpoint, repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")


def test_from_the_hub(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    cached(checkpoint, tmp_path)
    load("some/model", device="cpu")
    folder = tmp_path / "models--some--model" / "snapshots" / "abc"
    shard(folder, "weights.bin")
    with pytest.raises(ValueError, match="no safetensors"):
        load("some/model", device="cpu")
