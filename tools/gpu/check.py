"""A check of the machine that the GPU run is on.

python -m gpu.check
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
EVALUATION = ("packaging", "pytest", "scipy")
"""What the parts need besides."""


def requirements() -> list[Requirement]:
    """Those of the package, and of the parts."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    return [Requirement(text) for text in (*project["dependencies"], *EVALUATION)]


def shortcomings(wanted: Iterable[Requirement]) -> tuple[list[str], list[str]]:
    """What is missing, and what is there in a version that is not supported."""
    missing, unsupported = list[str](), list[str]()
    for requirement in wanted:
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            missing.append(str(requirement))
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            unsupported.append(f"{requirement} (found {found})")
    return missing, unsupported


def main() -> int:
    """2 where something is missing, 1 where something is not of a supported version."""
    missing, unsupported = shortcomings(requirements())
    if unsupported:
        print(f"unsupported: {', '.join(unsupported)}", file=sys.stderr)
    if missing:
        print(f"missing: {', '.join(missing)}", file=sys.stderr)
    if missing or unsupported:
        print("tools/gpu/wheels.sh gathers wheels where there is network", file=sys.stderr)
    return 2 if missing else 1 if unsupported else 0


if __name__ == "__main__":
    sys.exit(main())
