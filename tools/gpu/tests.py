"""Run ``tests/gpu``, and write what came of every test as soon as it is done.

python -m gpu.tests OUT.json [arguments of pytest]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from ipcv.core.output import write_json


class Recorder:
    """A plugin that writes outcomes, reasons and the properties that tests record."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tests: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """After each phase of a test: what did not pass before it stays."""
        if report.when == "setup" and report.passed:
            return
        name = report.nodeid.partition("::")[2]
        if self.tests.get(name, {}).get("outcome") in {"failed", "skipped"}:
            return
        row: dict[str, Any] = {"outcome": report.outcome, **dict(report.user_properties)}
        if report.failed:
            row["reason"] = str(report.longrepr)[-500:]
        if report.skipped and isinstance(report.longrepr, tuple):
            row["reason"] = report.longrepr[2]
        self.tests[name] = row
        write_json(self.path, self.tests)


def main(path: str, *arguments: str) -> int:
    """Warnings of other versions than ours are no failures here."""
    options = ["-q", "-p", "no:cacheprovider", "-W", "default", *arguments, "tests/gpu"]
    return int(pytest.main(options, plugins=[Recorder(Path(path))]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
