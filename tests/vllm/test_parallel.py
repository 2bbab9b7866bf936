"""Several workers give the answers of one."""

from pathlib import Path

import pytest

from tests.vllm.servers import serve
from tests.vllm.test_server import answers

COUNT = 12


pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "flags",
    [
        ["--tensor-parallel-size=2"],
        ["--data-parallel-size=2", "--api-server-count=1"],
        ["--tensor-parallel-size=2", "--mm-encoder-tp-mode=data"],
    ],
    ids=["tensor", "data", "tensor-data"],
)
def test_answers(padded: Path, tmp_path: Path, flags: list[str]) -> None:
    environment = {"VLLM_CPU_OMP_THREADS_BIND": "0|1"}
    asked = answers(COUNT)
    with serve(
        padded,
        tmp_path / "log",
        "--reduction-ratio=0.65",
        flags=tuple(flags),
        environment=environment,
    ) as server:
        assert server.log.read_text().count("IPCV active: IPCV(prune_layer=2") == 2
        assert server.ask_together([case for case, _ in asked], 8) == [text for _, text in asked]
