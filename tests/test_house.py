"""Rules of the house: one name for one thing, and modules that say what they are."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

import ipcv

ROOT, SOURCE = Path(__file__).parents[1], Path(ipcv.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
SCRIPTS = [path for name in ("tools", "benchmarks") for path in sorted((ROOT / name).rglob("*.py"))]


def names(path: Path) -> set[str]:
    """Public classes, types and constants that the module defines, not those it imports."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return {name for name in found if name[0].isupper()}


def test_no_two_modules_define_the_same_name():
    places = defaultdict(list)
    for path in MODULES:
        for name in names(path):
            places[name].append(path.relative_to(SOURCE).as_posix())
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS], ids=lambda path: path.as_posix())
def test_a_module_says_what_it_is(path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring is not None
    first = docstring.splitlines()[0]
    assert first.endswith(".")
    assert first.split()[0] not in ("What", "Which", "How", "Where")
