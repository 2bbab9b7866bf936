"""A machine that lacks something is told so before anything starts."""

from packaging.requirements import Requirement

from gpu.check import requirements, shortcomings


def test_this_machine_lacks_nothing():
    assert shortcomings(requirements()) == ([], [])


def test_what_is_missing_or_too_old_is_named():
    wanted = [Requirement(text) for text in ("torch>=2", "torch<2", "no-such-package>=1")]
    missing, unsupported = shortcomings(wanted)
    assert missing == ["no-such-package>=1"]
    assert len(unsupported) == 1
    assert unsupported[0].startswith("torch<2 (found 2.")
