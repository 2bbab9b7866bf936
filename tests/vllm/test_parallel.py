"""Several workers give the answers of one."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.vllm.conftest import engine
from tests.vllm.servers import serve
from tests.vllm.test_server import answers
from tests.vllm.test_shorter import KEEP, LANGUAGE

COUNT = 12
ROOT = Path(__file__).parents[2]
CORES = sorted(os.sched_getaffinity(0))
ENVIRONMENT = {
    "VLLM_CPU_OMP_THREADS_BIND": f"{CORES[0]}|{CORES[-1]}",
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
}

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "flags",
    [
        ["--tensor-parallel-size=2"],
        ["--data-parallel-size=2", "--api-server-count=1"],
        ["--tensor-parallel-size=2", "--mm-encoder-tp-mode=data"],
        ["--pipeline-parallel-size=2", "--worker-cls=tests.vllm.workers.Pipeline"],
    ],
    ids=["tensor", "data", "tensor-data", "pipeline"],
)
def test_answers(padded: Path, tmp_path: Path, flags: list[str]) -> None:
    log, asked = tmp_path / "log", answers(COUNT)
    options = {"flags": tuple(flags), "environment": ENVIRONMENT}
    with serve(padded, log, "--reduction-ratio=0.65", **options) as server:
        assert log.read_text().count("IPCV active: Adaptive(") == 2
        assert server.ask_together([case for case, _ in asked], 8) == [text for _, text in asked]


def test_shorter_prompts(padded: Path, tmp_path: Path) -> None:
    asked = answers(COUNT, LANGUAGE)
    options = {"flags": ("--tensor-parallel-size=2",), "environment": ENVIRONMENT}
    compression = "--reduction-ratio=0.65", f"--keep-tokens={KEEP}"
    with serve(padded, tmp_path / "log", *compression, **options) as server:
        assert server.ask_together([case for case, _ in asked], 8) == [text for _, text in asked]


def keys_of(model: Any) -> torch.Tensor:
    """What twins are matched by in a block of the encoder, for rows of noise."""
    tower, generator = model.ipcv.adapter, torch.Generator().manual_seed(0)
    block = tower.blocks[2]
    states = torch.randn(24, tower.norm(block).weight.shape[0], generator=generator)
    return tower.keys(tower.attention(block), states)


def test_each_rank_matches_by_all_heads(padded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (ENVIRONMENT | {"VLLM_ALLOW_INSECURE_SERIALIZATION": "1"}).items():
        monkeypatch.setenv(name, value)
    with engine(padded, {}) as llm:
        (whole,) = llm.apply_model(keys_of)
    with engine(padded, {}, tensor_parallel_size=2) as llm:
        shared = llm.apply_model(keys_of)
    assert whole.shape[1] > 1
    for keys in shared:
        torch.testing.assert_close(keys, whole, rtol=1e-4, atol=1e-5)
