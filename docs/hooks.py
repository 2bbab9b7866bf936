"""Hooks of the site: pages from outside `docs`, and links to them."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    "benchmarks/notes.md",
    "benchmarks/selection.md",
    "benchmarks/speed.md",
    "benchmarks/results/error-maps.png",
)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#:\s]+)(#[^)]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Pages that the repository keeps where their subject is."""
    for name in OUTSIDE:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links as the repository has them, as the site has them."""
    is_outside = page.file.src_uri in OUTSIDE
    here = PurePosixPath(page.file.src_uri if is_outside else f"docs/{page.file.src_uri}").parent

    def moved(link: re.Match[str]) -> str:
        mark, text, target, anchor = link.groups()
        path = (ROOT / here / target).resolve().relative_to(ROOT).as_posix()
        name = path.removeprefix("docs/")
        if files.get_file_from_path(name) is None:
            return f"{mark}{text}"  # not on the site
        up = "../" * len(PurePosixPath(page.file.src_uri).parent.parts)
        return f"{mark}[{text}]({up}{name}{anchor or ''})"

    return LINK.sub(moved, markdown)
