"""Several workers give the answers of one."""

import os
from pathlib import Path

import pytest

from tests.vllm.servers import serve
from tests.vllm.test_server import answers

COUNT = 12
ROOT = Path(__file__).parents[2]
CORES = sorted(os.sched_getaffinity(0))

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
    environment = {
        "VLLM_CPU_OMP_THREADS_BIND": f"{CORES[0]}|{CORES[-1]}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    asked = answers(COUNT)
    with serve(
        padded,
        tmp_path / "log",
        "--reduction-ratio=0.65",
        flags=tuple(flags),
        environment=environment,
    ) as server:
        assert server.log.read_text().count("IPCV active: Adaptive(") == 2
        assert server.ask_together([case for case, _ in asked], 8) == [text for _, text in asked]
