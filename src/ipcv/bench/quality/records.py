"""Results as they come, one JSON line each, so that an interrupted run can go on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from ipcv.core.output import to_json, whole_file
from ipcv.core.reading import read_text

Row = dict[str, Any]

NUMBER = (float, int, type(None))
FIELDS: dict[str, type | tuple[type, ...]] = {
    "scene": int,
    **dict.fromkeys(("image", "content", "variant", "settings", "error"), str),
    **dict.fromkeys(("candidate", "round"), str),
    **dict.fromkeys(("cosine", "relative_error", "kl", "agreement", "budget", "ratio"), NUMBER),
    **dict.fromkeys(("recall", "segments"), NUMBER),
    **dict.fromkeys(("same_token", "same_answer"), bool),
    **dict.fromkeys(("kinds", "right", "answers"), list),
}
"""What a row may hold."""

ADDED = {"recall", "segments"}
"""What rows of earlier versions lack."""

KINDS = (
    {"scene", "variant"},
    {"image", "variant"},
    {"image", "error"},
    {"candidate", "round", "budget", "ratio"},
)
"""What a row holds at least, one of these."""


class Records:
    """Rows in memory and, where there is a file, on disk as soon as they are added.

    The first line of the file says what run it belongs to. A last line that an interrupted run
    left unfinished is dropped.

    Args:
        path: the file, new or of an interrupted run; `None` for memory alone.
        run: what makes rows comparable: task, model and the like, as JSON types.

    Raises:
        ValueError: the file belongs to another run, or is no file of records.
    """

    def __init__(self, path: Path | None, run: Row) -> None:
        self.path, self.rows = path, list[Row]()
        if path is None:
            return
        if path.exists() and path.stat().st_size:
            self.rows = self._read(path, run)
        with whole_file(path) as part:
            part.write_text("".join(to_json(line) + "\n" for line in [run, *self.rows]))

    @staticmethod
    def _read(path: Path, run: Row) -> list[Row]:
        lines = read_text(path).split("\n")
        try:
            found, *rows = [json.loads(line, parse_constant=_refuse) for line in lines[:-1]]
        except (ValueError, RecursionError):
            raise ValueError(f"{path} holds no records of a run: choose another file") from None
        if not isinstance(found, dict) or not _are_rows(rows):
            raise ValueError(f"{path} holds no records of a run: choose another file")
        if found != run:
            differing = sorted(k for k in {*found, *run} if found.get(k) != run.get(k))
            raise ValueError(
                f"{path} holds records of another run ({', '.join(differing)} differ): "
                "choose another file"
            )
        return rows

    def add(self, row: Row) -> None:
        """Keep a row. Raises `OSError` where the disk is full; all rows before it are safe."""
        line = to_json(row)
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(line + "\n")
        self.rows.append(json.loads(line))  # as if it came from the file

    def missing(self, unit: Row, settings: Mapping[str, str]) -> list[str]:
        """The variants without a row about a unit, which may be one with an error for all.

        Args:
            unit: what rows about it hold: its name or number, and the identity of its `content`.
            settings: the identity of the settings of each variant.

        Raises:
            ValueError: there is a row about other content under that name, or of other settings.
        """
        (name, value), *_ = unit.items()
        done = set[str]()
        for row in self.rows:
            if row.get(name) != value:
                continue
            if row.get("content") != unit["content"]:
                self._refuse_other(f"another {name} {value}")
            variant: Any = row.get("variant")
            if variant is None:  # an error
                return []
            if variant in settings and row.get("settings") != settings[variant]:
                self._refuse_other(f"other settings by the name {variant}")
            done.add(variant)
        return [variant for variant in settings if variant not in done]

    def _refuse_other(self, what: str) -> NoReturn:
        raise ValueError(f"{self.path} holds results of {what}: choose another file")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _are_rows(rows: list[Any]) -> bool:
    """Whether they are rows, those of variants all with the same fields but for `ADDED`."""
    if not all(isinstance(row, dict) and _is_row(row) for row in rows):
        return False
    return len({frozenset(row.keys() - ADDED) for row in rows if "variant" in row}) <= 1


def _is_row(row: Row) -> bool:
    lists = [value for value in row.values() if isinstance(value, list)]
    return (
        row.keys() <= FIELDS.keys()
        and sum(kind <= row.keys() for kind in KINDS) == 1
        and all(_is(value, FIELDS[name]) for name, value in row.items())
        and len({len(each) for each in lists}) <= 1
        and all(isinstance(value, bool) for value in row.get("right", ()))
        and all(isinstance(v, str) for name in ("kinds", "answers") for v in row.get(name, ()))
    )


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
