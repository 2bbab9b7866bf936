"""vLLM's model runner V2, which is the default where there is Triton."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import ipcv
from tests.vllm.scenes import expected
from tests.vllm.test_shorter import COUNT, SETTINGS, Answer, assert_same, references

ENVIRONMENT = {"TRITON_INTERPRET": "1", "VLLM_USE_V2_MODEL_RUNNER": "1"}
CHUNKS = {"max_num_batched_tokens": 50, "enable_prefix_caching": False}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton, for its interpreter"),
]


def test_answers(padded: Path) -> None:
    options = [{"ipcv": {}}, {"ipcv": SETTINGS}, {"ipcv": SETTINGS, **CHUNKS}]
    module = [sys.executable, "-m", "tests.vllm.interpreted"]
    done = subprocess.run(
        [*module, str(padded), json.dumps(options), str(COUNT)],
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Using V2 Model Runner" in done.stdout + done.stderr
    compressed, *with_fewer = json.loads(done.stdout.splitlines()[-1])
    assert [tokens for tokens, _ in compressed] == expected(COUNT, ipcv.Adaptive(0.65))
    for answers in with_fewer:
        assert_same([Answer(*answer) for answer in answers], references())
