import json
import re
from importlib import import_module
from pathlib import Path

import pytest
import yaml

import ipcv
import ipcv.cli.serve as command
from ipcv.baselines import ToMe
from ipcv.cli import main
from ipcv.integrations.vllm.settings import split

MODEL = "Qwen/Qwen2-VL-2B-Instruct"


@pytest.fixture(autouse=True)
def vllm(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What vLLM, which seems to be there, is run with."""
    runs: list[list[str]] = []
    monkeypatch.setattr(command, "find_spec", lambda name: object())
    monkeypatch.setattr(command, "_run", runs.append)
    monkeypatch.delenv("VLLM_PLUGINS", raising=False)
    return runs


def serve(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["serve", *arguments])
    return stop.value.code or 0  # type: ignore[return-value]


def test_settings_and_flags_are_handed_on(vllm: list[list[str]]) -> None:
    options = ["--method", "ipcv", "--reduction-ratio", "0.5", "--set", "prune_layer=4"]
    options += ["--attention", "full", "--encoder-graphs"]
    assert serve(MODEL, *options, "--", "--port", "8001", "--dtype=half") == 0
    ((*start, settings, _, _, port, number, dtype),) = vllm
    assert start == ["serve", MODEL, "--additional-config"]
    own = {"reduction_ratio": 0.5, "prune_layer": 4}
    expected = {"method": "ipcv", "attention": "full", "encoder_graphs": True} | own
    assert json.loads(settings) == {"ipcv": expected}
    assert [port, number, dtype] == ["--port", "8001", "--dtype=half"]


def test_no_settings(vllm: list[list[str]]) -> None:
    assert serve(MODEL) == 0
    ((*_, settings, flag, worker),) = vllm
    assert json.loads(settings) == {"ipcv": {"attention": "auto"}}
    assert flag == "--worker-extension-cls"
    assert import_module(worker.rpartition(".")[0].rpartition(".")[0])  # the rest needs vLLM
    assert serve(MODEL, "--no-require-active") == 0
    assert vllm[1][-2:] == ["--additional-config", settings]


def test_a_plan_starts_nothing(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    vllm: list[list[str]],
    checkpoint: Path,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("ipcv.cli.plan.SIDES", (336,))
    assert serve(str(checkpoint), "--keep-tokens", "0.4", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "Adaptive(reduction_ratio=0.65" in said
    assert "DivPrune(reduction_ratio=0.6)" in said
    (row,) = [line.split() for line in said.splitlines() if "336 px" in line]
    assert row[2:4] == ["144", "57"]
    assert float(row[5]) < float(row[4])
    assert not vllm
    assert serve(str(checkpoint), "--keep-tokens", "2", "--dry-run") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--reduction-ratio", "1"], "reduction_ratio must be a number in [0, 1), got 1.0"),
        (
            ["--method", "ipcv", "--set", "prune_layer=0"],
            "prune_layer must be an integer of at least 1, got 0",
        ),
        (["--attention", "fast"], "attention must be one of auto, sdpa, flash, full, got 'fast'"),
        (["--method", "ipcv", "--set", "selector=best"], "selector must be one of"),
        (["--method", "best"], "unknown method 'best': use one of ipcv"),
        (["--", "--additional-config={}"], "ipcv serve makes --additional-config itself"),
        (["--", "--worker_extension_cls=x"], "ipcv serve makes --worker-extension-cls itself"),
        (["--keep-tokens", "0"], "keep_tokens must be a number in (0, 1], got 0.0"),
    ],
)
def test_refusals(
    capsys: pytest.CaptureFixture[str],
    vllm: list[list[str]],
    arguments: list[str],
    message: str,
) -> None:
    assert serve(MODEL, *arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ipcv: ")
    assert message in line
    assert not vllm


def test_plugins_that_leave_ipcv_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, vllm: list[list[str]]
) -> None:
    monkeypatch.setenv("VLLM_PLUGINS", "")
    assert serve(MODEL) == 1
    assert "VLLM_PLUGINS is '', which leaves ipcv out" in capsys.readouterr().err
    monkeypatch.setenv("VLLM_PLUGINS", "other,ipcv")
    assert serve(MODEL) == 0
    assert len(vllm) == 1


def test_without_vllm(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, vllm: list[list[str]]
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert serve(MODEL) == 1
    assert capsys.readouterr().err == "ipcv: ipcv serve needs vLLM: pip install 'ipcv[vllm]'\n"
    assert not vllm


def test_a_file_of_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ipcv.json"
    ipcv.save(path, ipcv.Preset(ipcv.IPCV(4, 0.5)))
    asked = split({"settings": str(path), "reduction_ratio": 0.6, "keep_tokens": 1})
    assert asked[1:] == ("auto", None, False)
    assert asked.vision.vision_for(ipcv.IPCV()) == ipcv.IPCV(4, 0.6)
    assert serve(MODEL, "--settings", str(path)) == 0
    ipcv.save(path, ipcv.Preset(ToMe(0.1)))
    capsys.readouterr()
    assert serve(MODEL, "--settings", str(path)) == 1
    assert "by ipcv, adaptive, pixelprune, run-length, not by ToMe" in capsys.readouterr().err


def test_compose_file(vllm: list[list[str]]) -> None:
    """Its servers are started with options that exist, and the load balancer knows them all."""
    text = (Path(__file__).parents[2] / "compose.yaml").read_text()
    services = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))["services"]
    balancer = services.pop("balancer")["command"]
    assert [x for x in balancer if "--to" in x] == [f"--to={name}:8000" for name in services]
    for service in services.values():
        assert serve(*service["command"]) == 0
        assert vllm[-1][-1] == "--shutdown-timeout=120"
