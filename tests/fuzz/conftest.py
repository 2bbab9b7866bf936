"""Rounds of fuzzing: as many as fit into IPCV_FUZZ_SECONDS, a minute for all tests by default."""

import os
import time
from collections.abc import Callable
from random import Random

import pytest

SECONDS = float(os.environ.get("IPCV_FUZZ_SECONDS", "60"))
LEAST = 20
"""Rounds, also on a slow machine."""

Rounds = Callable[[Callable[[Random], object]], None]


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> Rounds:
    """Runs an attack with seed after seed; it may raise a `ValueError` of one line, nothing else.

    What it does without one must be right: the attack asserts that.
    """
    tests = [item for item in request.session.items if "tests/fuzz/" in item.nodeid]

    def run(attack: Callable[[Random], object]) -> None:
        start, seed = time.monotonic(), 0
        while seed < LEAST or time.monotonic() - start < SECONDS / len(tests):
            try:
                attack(Random(seed))
            except ValueError as error:
                said = str(error).strip()
            except Exception as error:
                raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
            else:
                said = "right"
            assert 0 < len(said) < 2000, f"seed {seed}: {said}"
            seed += 1

    return run
