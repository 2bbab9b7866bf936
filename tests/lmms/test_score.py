"""lmms-eval's score is the built-in suite's, on the same questions and the embedded model."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ipcv.baselines import Downsample
from ipcv.bench.suite import Scores, evaluate, held_out_scenes
from ipcv.integrations.lmms_eval.arguments import Arguments
from ipcv.integrations.lmms_eval.front import run
from ipcv.loading import load
from ipcv.models import TINY

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # lmms-eval's own warnings

SETTINGS: dict[str, dict[str, Any]] = {
    "uncompressed": {"compress": False},
    "preset": {},
    "with DART": {"reduction_ratio": 0.8, "language": "dart", "language_reduction_ratio": 0.8},
    "downsampled": {"compress": False, "downsample": 0.5},
}


@pytest.fixture(scope="module")
def built_in() -> dict[str, Scores]:
    """The suite's scores under all settings."""
    model, processor = load(TINY)
    scenes = list(held_out_scenes(36))
    scores = {}
    for name, settings in SETTINGS.items():
        arguments = Arguments.parse({"pretrained": str(TINY)} | settings)
        shrink = Downsample(arguments.downsample)
        handle = arguments.apply(model)
        scores[name] = evaluate(model, processor, scenes, shrink)
        if handle is not None:
            handle.remove()
    return scores


def test_settings_make_a_difference(built_in: dict[str, Scores]) -> None:
    scores = {name: score.overall for name, score in built_in.items()}
    best = scores.pop("uncompressed")
    assert all(score < best for score in scores.values())
    assert scores["preset"] != scores["with DART"]


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("name", SETTINGS)
def test_same_score(
    built_in: dict[str, Scores], task_folder: Path, name: str, batch_size: int
) -> None:
    results = run(
        ["ipcv_scenes"],
        str(TINY),
        SETTINGS[name],
        batch_size=batch_size,
        include=task_folder,
    )
    assert results["ipcv_scenes"]["exact_match,none"] == built_in[name].overall


def lmms_eval(
    launcher: list[str], task_folder: Path, model_args: str, *more: str
) -> subprocess.CompletedProcess[str]:
    """The command that a user types."""
    command = [*launcher, "lmms_eval", "--model", "ipcv", "--model_args", model_args]
    task = ["--include_path", str(task_folder), "--tasks", "ipcv_scenes", *more]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true"}
    return subprocess.run([*command, *task], env=environment, capture_output=True, text=True)


def test_two_processes(built_in: dict[str, Scores], task_folder: Path, tmp_path: Path) -> None:
    """Each answers half of the questions, in batches; the score is of all of them."""
    two = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m"]
    more = ["--batch_size", "4", "--output_path", str(tmp_path), "--log_samples"]
    process = lmms_eval(two, task_folder, f"pretrained={TINY}", *more)
    assert process.returncode == 0, process.stderr
    (results,) = tmp_path.glob("*/*_results.json")
    score = json.loads(results.read_text())["results"]["ipcv_scenes"]["exact_match,none"]
    assert score == built_in["preset"].overall
    (samples,) = tmp_path.glob("*/*_samples_ipcv_scenes.jsonl")
    documents = [json.loads(line)["doc_id"] for line in samples.read_text().splitlines()]
    assert sorted(documents) == list(range(36))
    assert process.stderr.count("18/18") > 0


@pytest.mark.parametrize(
    ("model_args", "message"),
    [
        (f"pretrained={TINY},prune_layr=3", "unknown setting prune_layr"),
        (f"pretrained={TINY},prune_layer=30", "beyond the encoder's 8 blocks"),
        ("pretrained=no/such/model", "neither a folder nor a hub id"),
        ("pretrained", "write model_args like"),
    ],
)
def test_wrong_arguments_end_in_one_line(task_folder: Path, model_args: str, message: str) -> None:
    process = lmms_eval([sys.executable, "-m"], task_folder, model_args)
    assert process.returncode == 1
    assert "Traceback" not in process.stderr + process.stdout
    last_line = process.stderr.splitlines()[-1]
    assert last_line.startswith("ipcv: ")
    assert message in last_line


def test_wrong_arguments_of_the_front(task_folder: Path) -> None:
    with pytest.raises(RuntimeError, match="beyond the encoder's 8 blocks"):
        run(["ipcv_scenes"], str(TINY), {"prune_layer": 30}, include=task_folder)
    with pytest.raises(ValueError, match="Tasks not found: ipcv_scene"):
        run(["ipcv_scene"], str(TINY), {}, include=task_folder)
