"""The pages say what is so: their code runs, their commands parse, and the API page is whole."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

import ipcv
from ipcv.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(<!-- runs -->\n\n)?```(\w+)\n(.*?)```", re.DOTALL)


def blocks(path: Path, language: str) -> list[tuple[bool, str]]:
    """Those of a language, and whether they are said to run as they are."""
    found = BLOCK.findall(path.read_text(encoding="utf-8"))
    return [(bool(runs), code) for runs, kind, code in found if kind == language]


RUNNING = [
    pytest.param(code, id=f"{path.stem}-{number}")
    for path in PAGES
    for number, (runs, code) in enumerate(blocks(path, "python"))
    if runs
]
COMMANDS = [
    pytest.param(words, id=" ".join(words)[:60])
    for path in PAGES
    for _, code in blocks(path, "bash")
    for line in code.replace("\\\n", " ").splitlines()
    if (words := shlex.split(line, comments=True))[:1] == ["ipcv"]
]


@pytest.mark.parametrize("code", RUNNING)
def test_code_runs(code, capsys):
    exec(compile(code, "<page>", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_other_code_is_python(path):
    for _, code in blocks(path, "python"):
        compile(code, path.name, "exec")


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_takes_what_a_page_gives_it(words):
    _, verb, *given = words
    command = get_command(app).commands[verb]  # type: ignore[attr-defined]
    command.make_context(verb, given, resilient_parsing=False)


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_api_page_has_every_public_name():
    listed = re.findall(r"^::: ([\w.]+)$", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    names = {f"ipcv.public.{name}" for name in ipcv.__all__ if name != "baselines"}
    names |= {f"ipcv.baselines.{name}" for name in ipcv.baselines.__all__}
    assert names <= set(listed)


def test_links_inside_the_repository_lead_somewhere():
    pages = [*PAGES, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "benchmarks").glob("*.md"))]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), (page.name, target)
