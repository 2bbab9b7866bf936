"""Write the measured tables into the model card and the README, from ``benchmarks/results``.

python tools/write_card.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ipcv.bench.scenes import QUESTION_KINDS
from ipcv.models import TINY

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "tiny.json"


def cells(row: dict[str, Any]) -> list[str]:
    """The accuracies of a row, in percent."""
    kinds = [f"{100 * row['by_kind'].get(kind, 0):.1f}" for kind in QUESTION_KINDS]
    return [f"**{100 * row['overall']:.1f}**", *kinds]


def cost(row: dict[str, Any]) -> list[str]:
    """What the encoder costs in a row."""
    if "encoder_gflops" not in row:
        return ["", ""]
    return [f"{row['encoder_gflops']:.2f}", f"{row['encoder_time_ratio']:.2f}"]


def table(header: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])


def scores(results: dict[str, Any], pattern: str) -> str:
    """The rows whose name matches, with every kind of question."""
    header = ["", "all", *QUESTION_KINDS, "encoder GFLOPs", "encoder time"]
    rows = results["rows"] | {"answer prior": results["prior"]}
    chosen = [name for name in rows if re.fullmatch(pattern, name)]
    return table(header, [[name, *cells(rows[name]), *cost(rows[name])] for name in chosen])


def fill(path: Path, marker: str, text: str) -> None:
    """Replace what is between the two comments ``marker`` of a Markdown file."""
    start, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    head, rest = path.read_text().split(start)
    path.write_text(f"{head}{start}\n\n{text}\n\n{end}{rest.split(end)[1]}")


def main() -> None:
    """Fill both files."""
    results = json.loads(RESULTS.read_text())
    vision = r"uncompressed|IPCV [\d.]+|downsampled.*"
    fill(ROOT / "README.md", "scores", scores(results, vision))
    vision += "|.*prune_layer.*"
    fill(
        TINY / "README.md",
        "reference",
        scores(results, "uncompressed|.*image|.*scene|answer prior"),
    )
    fill(TINY / "README.md", "vision", scores(results, vision))
    fill(TINY / "README.md", "language", scores(results, r"uncompressed|(IPCV \+ )?DART.*"))


if __name__ == "__main__":
    main()
