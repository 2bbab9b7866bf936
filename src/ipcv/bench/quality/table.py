"""Tables of what is kept, for people and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from ipcv.bench.quality.best import best_at
from ipcv.bench.quality.estimates import Quality, compare_at
from ipcv.bench.quality.hard import split_questions
from ipcv.bench.quality.intervals import Estimate, mcnemar, mean, proportion
from ipcv.bench.quality.kinds import image_kinds, question_groups
from ipcv.bench.quality.records import Row
from ipcv.bench.scenes.pictures import DRAWN, picture_of
from ipcv.bench.variants import UNCOMPRESSED

TIMES = (0.8, 0.7, 0.6, 0.5, 0.4, 0.35)
"""Encoder times, relative to uncompressed, at which methods are compared."""


def suite_summary(rows: Sequence[Row], found: dict[str, Quality]) -> dict[str, dict[str, Any]]:
    """Per variant: accuracy overall, by kind, on hard and easy questions, and the p-value.

    That is of being right as often as uncompressed.
    """
    answers: dict[str, dict[tuple[int, int], tuple[str, bool]]] = {}
    for row in rows:
        for i, pair in enumerate(zip(row["kinds"], row["right"], strict=True)):
            answers.setdefault(row["variant"], {})[row["scene"], i] = pair
    groups = question_groups(dict.fromkeys(kind for row in rows for kind in row["kinds"]))
    splits = split_questions(rows, {name: quality.time for name, quality in found.items()})
    base = answers[UNCOMPRESSED]
    result = {}
    for name, quality in found.items():
        own = answers[name]
        common = sorted(own.keys() & base.keys())
        by_kind = {
            group: [own[key][1] for key in common if own[key][0] in kinds]
            for group, kinds in groups.items()
        }
        result[name] = {
            "time": quality.time,
            "overall": quality.estimate,
            **{kind: proportion(sum(r), len(r)) for kind, r in by_kind.items() if r},
            "p": mcnemar([own[key][1] for key in common], [base[key][1] for key in common]),
            **(splits[name]._asdict() if name in splits else {}),
        }
    return result


STYLE: dict[str, Any] = {"box": box.SIMPLE, "padding": (0, 1, 0, 0)}

OVERALL = {
    "time": "encoder time",
    "overall": "right",
    "p": "p",
    "cosine": "cosine",
    "relative_error": "error",
    "recall": "recall@1",
    "segments": "segments",
    "kl": "KL",
    "same_token": "same token",
    "same_answer": "same answer",
}
"""Columns that are no kinds of content, and their titles."""

SPLIT = {
    "rival": "downsampling",
    "hard": "right where it is not",
    "hard_questions": "of",
    "easy": "right where it is",
    "easy_questions": "of",
}
"""Columns about hard and easy questions, and their titles."""

FIDELITY = ("cosine", "relative_error", "recall", "segments", "kl", "same_token", "same_answer")


def fidelity_summary(rows: Sequence[Row], found: dict[str, Quality]) -> dict[str, dict[str, Any]]:
    """Per variant: the means over images, overall and, of the cosine, by kind of content."""
    result: dict[str, dict[str, Any]] = {}
    for name, quality in found.items():
        own = [row for row in rows if row.get("variant") == name]
        summary: dict[str, Any] = {"time": quality.time}
        for measure in FIDELITY:
            values = [row[measure] for row in own if row.get(measure) is not None]
            if values and all(measure in row for row in own):  # rows of earlier versions lack some
                summary[measure] = mean(values)
        kinds = image_kinds([row for row in own if row["cosine"] is not None])
        summary |= {kind: mean([row["cosine"] for row in part]) for kind, part in kinds.items()}
        result[name] = summary
    return result


def ranked_images(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Per variant the images, those with the least cosine first."""
    ranked: dict[str, list[tuple[float, str]]] = {}
    for row in rows:
        if row.get("cosine") is not None and row["variant"] != UNCOMPRESSED:
            ranked.setdefault(row["variant"], []).append((row["cosine"], row["image"]))
    return {name: [image for _, image in sorted(pairs)] for name, pairs in ranked.items()}


def summary_tables(title: str, summary: dict[str, dict[str, Any]]) -> list[Table]:
    """One row per variant: time and quality overall, by kind, and on hard and easy questions."""
    names = dict.fromkeys(name for row in summary.values() for name in row)
    parts: dict[str, list[str]] = {title: [], "by kind": []}
    for name in names:
        picture = picture_of(name)
        if name in OVERALL:
            parts[title].append(name)
        elif name in SPLIT:
            parts.setdefault("at equal encoder time", []).append(name)
        else:
            part = "by kind" if picture in (name, DRAWN) else f"{picture}, by kind"
            parts.setdefault(part, []).append(name)
    return [_summary_table(part, columns, summary) for part, columns in parts.items() if columns]


def _summary_table(title: str, columns: list[str], summary: dict[str, dict[str, Any]]) -> Table:
    table = Table(title=title, caption="± half a 95 % interval", **STYLE)
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column((OVERALL | SPLIT).get(name, name), justify="right")
    for variant, row in summary.items():
        table.add_row(variant, *(_cell(row.get(name)) for name in columns))
    return table


def equal_time_tables(found: dict[str, Quality]) -> list[Table]:
    """One row per method: quality at equal encoder time, and the gain over each rival."""
    compared = compare_at(found, TIMES)
    title = "at equal encoder time, relative to uncompressed"
    return [
        _by_time(title, compared.quality),
        *(_by_time(f"gain over {rival} at equal time", g) for rival, g in compared.gains.items()),
    ]


def _by_time(title: str, rows: dict[str, list[Estimate | None]]) -> Table:
    table = Table(title=title, caption="± half a 95 % interval; - not measured", **STYLE)
    table.add_column("", no_wrap=True)
    for time in TIMES:
        table.add_column(f"{time:g}", justify="right")
    for method, cells in rows.items():
        table.add_row(method, *map(_cell, cells))
    return table


def best_table(kinds: Mapping[str, Mapping[str, Quality]], time: float) -> Table:
    """The best method for each kind at an encoder time, or that it is undecided."""
    table = Table(
        title=f"best at {time:g} of the encoder time",
        caption="± half a 95 % interval; undecided: not clear of all others",
        **STYLE,
    )
    for column in ("", "best", "highest", "quality", "next", "gain"):
        table.add_column(column, justify="right" if column in ("quality", "gain") else "left")
    for kind, best in best_at(kinds, time).items():
        verdict = best.method if best.decided else "undecided"
        table.add_row(
            kind, verdict, best.method, *map(_cell, (best.quality, best.rival, best.gain))
        )
    return table


def _cell(value: Any) -> str:
    if isinstance(value, (Estimate, str)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if value is None else f"{value:.3g}"
