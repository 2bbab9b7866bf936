"""The GPU run itself: every part works, on a CPU with tiny sizes, and its tables can be written."""

import importlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from gpu.run import PARTS
from ipcv.bench.variants import UNCOMPRESSED
from methods import measured_methods
from tests.vision.adapters.families import build
from write_speed import NOT_MEASURED, SHOWN, devices, gpus, section

ROOT = Path(__file__).parents[2]
CASE = {"shape": "qwen2-vl-7b", "case": "256", "attention": "sdpa", "width": None}
TIMES = {
    "ms": {UNCOMPRESSED: [4.0, 6.0], "published": [2.0, 2.0]},
    "flops": {UNCOMPRESSED: 30, "published": 10},
}
ON_A_CPU, ON_A_GPU = (CASE | TIMES | {"dtype": dtype} for dtype in ("float32", "bfloat16"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu")
    build("dinov2").save_pretrained(folder / "dinov2")
    (folder / "photos").mkdir()
    Image.linear_gradient("L").convert("RGB").save(folder / "photos" / "0.png")
    options = ["--device", "cpu", "--quick", "--patience", "20"]  # beside other work
    options += ["--dinov2", str(folder / "dinov2"), "--photos", str(folder / "photos")]
    command = ["sh", "tools/gpu/run.sh", str(folder / "out"), *options]
    environment = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (path,) = (folder / "out").glob("gpu-*.json")
    content = json.loads(path.read_text())
    for name, part in content["parts"].items():
        assert part["result"] == json.loads((path.parent / f"{name}.json").read_text())
    return content


@pytest.mark.slow
def test_every_part_has_its_results(run):
    assert run["parts"].keys() == SHOWN.keys()
    assert {part["ended"] for part in run["parts"].values()} == {"finished"}
    results = {name: part["result"] for name, part in run["parts"].items()}
    outcomes = {test["outcome"] for test in results["tests"].values()}
    assert outcomes <= {"passed", "skipped"}
    assert "passed" in outcomes

    own = {UNCOMPRESSED, *measured_methods(build("qwen2_vl"))}
    (speed,) = results["speed"]
    assert speed["failed"] == {}
    for numbers in ("ms", "host_ms", "flops", "peak"):
        assert speed[numbers].keys() == own | {"straightforward"}
    assert all(len(times) == 2 and min(times) > 0 for times in speed["ms"].values())
    assert speed["flops"]["published"] < speed["flops"][UNCOMPRESSED]

    blocks = results["fixed-lengths"]
    assert {(row["variant"], row["compiled"]) for row in blocks} == {
        (variant, compiled) for variant in ("published", UNCOMPRESSED) for compiled in (False, True)
    }
    assert all(row["difference"]["call"] < 1e-5 and min(row["ms"]["call"]) > 0 for row in blocks)

    generation = {(row["requests"], row["variant"]): row for row in results["generation"]}
    assert {requests for requests, _ in generation} == {1, 2}
    pruned, whole = generation[2, "published+dart 0.65"], generation[2, UNCOMPRESSED]
    assert pruned["llm_tokens"] < whole["llm_tokens"]
    assert pruned["prefill_gflops"] < whole["prefill_gflops"]
    assert all(row["tokens_per_second"] > 0 for row in generation.values())

    answers, features = results["precision"]["questions"], results["precision"]["features"]
    assert answers[UNCOMPRESSED]["questions"] == 6
    assert answers[UNCOMPRESSED]["bfloat16"] >= 4
    assert features[UNCOMPRESSED]["float32"] == pytest.approx(1)
    assert 0 < features["published"]["float32"] < 1

    calls = {row["variant"]: row for row in results["one-call"]}
    assert calls.keys() == own
    assert all(row["kernels"] > 0 and row["busy_ms"] > 0 and row["top"] for row in calls.values())


@pytest.mark.slow
def test_its_results_fill_the_page(run):
    text = section(run)
    assert run["device"] in text
    assert NOT_MEASURED not in text
    assert all(f"{title}:\n\n|" in text for title, _ in SHOWN.values())


@pytest.mark.parametrize("part", [part for part in PARTS if "/" in part.program])
def test_arguments_of_a_full_run_are_known(part, monkeypatch):
    module = importlib.import_module(Path(part.program).stem)
    monkeypatch.setattr(sys, "argv", [part.program, "out.json", *shlex.split(part.arguments)])
    assert module.parsed().file == Path("out.json")


def test_time_limits_are_seven_minutes_in_all():
    assert sum(part.seconds for part in PARTS) <= 7 * 60


def test_a_column_per_gpu():
    gpu = {"device": "A GPU", "parts": {"speed": {"result": [ON_A_GPU]}}}
    header, _, line = devices([ON_A_CPU], [gpu]).splitlines()
    assert header == "| encoder, patches | CPU, few blocks | A GPU |"
    assert line == "| qwen2-vl-7b, 256 | 2.50x of 3.00x | 2.50x of 3.00x |"


def test_no_gpu_is_said_so():
    header, _, line = devices([ON_A_CPU], []).splitlines()
    assert header == "| encoder, patches | CPU, few blocks | GPU |"
    assert line == f"| qwen2-vl-7b, 256 | 2.50x of 3.00x | {NOT_MEASURED} |"


def test_what_a_cut_off_run_lacks_is_said_so():
    cut = {"ended": "cut off", "seconds": 1, "result": None}
    gpu = {"device": "A GPU", "versions": {"torch": "2"}, "parts": {"speed": cut}}
    assert "Incomplete: speed cut off." in section(gpu)
    assert section(gpu).count(NOT_MEASURED) == len(SHOWN)


def test_quick_results_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("write_speed.RESULTS", tmp_path)
    assert gpus() == []
    (tmp_path / "gpu-x.json").write_text(json.dumps({"device": "X", "quick": True}))
    with pytest.raises(ValueError, match="quick"):
        gpus()


def test_page_is_up_to_date():
    page = (ROOT / "benchmarks" / "speed.md").read_text()
    cpu = json.loads((ROOT / "benchmarks" / "results" / "speed-cpu.json").read_text())
    assert devices(cpu, gpus()) in page
    assert all(section(gpu) in page for gpu in gpus())
