"""The example of a task of one's own runs, in a process as lmms-eval leaves a lot behind."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "lmms_eval_task.py"


def test_a_task_of_ones_own() -> None:
    process = subprocess.run(
        [sys.executable, EXAMPLE], check=True, timeout=300, capture_output=True, text=True
    )
    for variant in ("uncompressed", "compressed"):
        assert re.search(rf"^│ {variant} +│ +1 │$", process.stdout, re.M), process.stdout
