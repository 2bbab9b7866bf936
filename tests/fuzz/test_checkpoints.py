"""Checkpoints with damage in any file are refused in one line, or load whole."""

import json
import shutil
from pathlib import Path
from random import Random

import pytest
import torch
from PIL import Image

from ipcv.inputs.loading import load
from ipcv.inputs.prompt import Media, build_inputs
from tests.fuzz.conftest import Rounds
from tests.fuzz.mutations import damaged, hostile_text

pytestmark = pytest.mark.filterwarnings("ignore")

IMAGE = Image.linear_gradient("L").resize((56, 56)).convert("RGB")


def test_checkpoints(rounds: Rounds, checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "model"))
    whole = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    expected = load(folder, device="cpu")[0].state_dict()

    def attack(rng: Random) -> None:
        name = rng.choice(list(whole))
        data = whole[name]
        if name.endswith(".json") and len(data) < 100_000:
            data = hostile_text(data.decode(), rng)
        elif name.endswith(".safetensors"):  # its head says what is where
            length = 8 + int.from_bytes(data[:8], "little")
            data = damaged(data[:length], rng) + data[length:]
        else:
            data = damaged(data, rng)
        (folder / name).write_bytes(data)
        try:
            model, processor = load(folder, device="cpu")
            if name != "model.safetensors":  # shapes that agree, but values of other places
                found = model.state_dict()
                assert all(torch.equal(tensor, found[key]) for key, tensor in expected.items())
            build_inputs(model, processor, [Media((IMAGE,))], "What?")
        finally:
            (folder / name).write_bytes(whole[name])

    rounds(attack)


def test_indices_of_weights(rounds: Rounds, checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "model"))
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    names = load(checkpoint, device="cpu")[0].state_dict()
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, "part.safetensors")}
    text = json.dumps(index)

    def attack(rng: Random) -> None:
        (folder / "model.safetensors.index.json").write_bytes(hostile_text(text, rng))
        load(folder, device="cpu")

    rounds(attack)
