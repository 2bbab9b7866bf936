"""lmms-eval's score is the built-in suite's, on the same questions and the embedded model."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ipcv.baselines import Downsample
from ipcv.bench.quality.suite import ask, held_out_scenes
from ipcv.inputs.loading import load
from ipcv.integrations.lmms_eval.arguments import ModelArguments
from ipcv.integrations.lmms_eval.front import run
from ipcv.models import TINY

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # lmms-eval's own warnings

RATIO = 0.85
SETTINGS: dict[str, dict[str, Any]] = {
    "uncompressed": {"compress": False},
    "preset": {"reduction_ratio": RATIO},
    "with DART": {"reduction_ratio": 0.8, "language": "dart", "language_reduction_ratio": 0.9},
    "downsampled": {"compress": False, "downsample": 0.5},
}


class Asked(NamedTuple):
    """The built-in suite's answers, question after question, and its score."""

    answers: list[str]
    score: float


@pytest.fixture(scope="module")
def built_in() -> dict[str, Asked]:
    """Under all settings."""
    model, processor = load(TINY)
    scenes = list(held_out_scenes(36))
    result = {}
    for name, settings in SETTINGS.items():
        arguments = ModelArguments.parse({"pretrained": str(TINY)} | settings)
        handle = arguments.apply(model)
        answers, right = [], []
        for scene in scenes:
            image = Downsample(arguments.downsample)(scene.image)
            answers += ask(model, processor, [image], [q.text for q in scene.questions])
            right += [q.answer for q in scene.questions]
        pairs = zip(answers, right, strict=True)
        result[name] = Asked(answers, sum(a == b for a, b in pairs) / len(answers))
        if handle is not None:
            handle.remove()
    return result


def test_settings_make_a_difference(built_in: dict[str, Asked]) -> None:
    answers = {tuple(asked.answers) for asked in built_in.values()}
    assert len(answers) == len(SETTINGS)
    best = built_in["uncompressed"].score
    assert all(best > asked.score > 0.3 for asked in built_in.values() if asked.score != best)


def logged_answers(folder: Path) -> list[str]:
    """What lmms-eval wrote down, by document."""
    (samples,) = folder.glob("*/*_samples_ipcv_scenes.jsonl")
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    lines.sort(key=lambda line: line["doc_id"])
    return [line["filtered_resps"].strip() for line in lines]


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("name", SETTINGS)
def test_same_score(
    built_in: dict[str, Asked], task_folder: Path, tmp_path: Path, name: str, batch_size: int
) -> None:
    results = run(
        ["ipcv_scenes"],
        str(TINY),
        SETTINGS[name],
        batch_size=batch_size,
        output=tmp_path,
        include=task_folder,
    )
    assert results["ipcv_scenes"]["exact_match,none"] == built_in[name].score
    assert logged_answers(tmp_path) == built_in[name].answers


def lmms_eval(
    launcher: list[str], task_folder: Path, model_args: str, *more: str
) -> subprocess.CompletedProcess[str]:
    """The command that a user types."""
    command = [*launcher, "lmms_eval", "--model", "ipcv", "--model_args", model_args]
    task = ["--include_path", str(task_folder), "--tasks", "ipcv_scenes", *more]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true"}
    return subprocess.run([*command, *task], env=environment, capture_output=True, text=True)


def test_two_processes(built_in: dict[str, Asked], task_folder: Path, tmp_path: Path) -> None:
    """Each answers half of the questions, in batches; the score is of all of them."""
    two = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m"]
    more = ["--batch_size", "4", "--output_path", str(tmp_path), "--log_samples"]
    process = lmms_eval(two, task_folder, f"pretrained={TINY},reduction_ratio={RATIO}", *more)
    assert process.returncode == 0, process.stderr
    (results,) = tmp_path.glob("*/*_results.json")
    score = json.loads(results.read_text())["results"]["ipcv_scenes"]["exact_match,none"]
    assert score == built_in["preset"].score
    assert logged_answers(tmp_path) == built_in["preset"].answers
    assert "answers: 100%" in process.stderr
    assert "18/18" in process.stderr


def test_wrong_arguments_end_in_one_line(task_folder: Path) -> None:
    process = lmms_eval([sys.executable, "-m"], task_folder, f"pretrained={TINY},prune_layr=3")
    assert process.returncode == 1
    assert "Traceback" not in process.stderr + process.stdout
    assert process.stderr.splitlines()[-1].startswith("ipcv: unknown setting prune_layr")


def test_wrong_arguments_of_the_front(task_folder: Path) -> None:
    beyond = {"method": "ipcv", "prune_layer": 30}
    with pytest.raises(ValueError, match="beyond the encoder's 8 blocks"):
        run(["ipcv_scenes"], str(TINY), beyond, include=task_folder)
    with pytest.raises(ValueError, match="Tasks not found: ipcv_scene"):
        run(["ipcv_scene"], str(TINY), {}, include=task_folder)


def test_the_command_runs_every_variant(task_folder: Path, tmp_path: Path) -> None:
    """`ipcv eval --tasks`, in a process of its own as lmms-eval leaves a lot behind."""
    summary = tmp_path / "summary.json"
    options = ["--include", task_folder, "--questions", 12, "--batch-size", 6, "--ratio", 0.65]
    methods = ["--method", "ipcv+dart", "--method", "downsample", "--json", summary]
    command = [sys.executable, "-m", "ipcv", "eval", "--tasks", "ipcv_scenes", *options, *methods]
    subprocess.run(list(map(str, command)), check=True, timeout=300, capture_output=True)
    results = json.loads(summary.read_text())
    assert list(results) == ["uncompressed", "ipcv+dart 0.65", "downsample 0.65"]
    scores = [tasks["ipcv_scenes"]["exact_match,none"] for tasks in results.values()]
    assert scores[0] > scores[2]
