"""Results as they come, one JSON line each, so that an interrupted run can go on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


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
            lines = [run, *self.rows]
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        else:
            path.write_text(json.dumps(run) + "\n")

    @staticmethod
    def _read(path: Path, run: Row) -> list[Row]:
        lines = path.read_text().split("\n")
        try:
            found, *rows = [json.loads(line) for line in lines[:-1]]
        except ValueError:
            raise ValueError(f"{path} holds no records of a run: choose another file") from None
        if found != run:
            differing = sorted(k for k in {*found, *run} if found.get(k) != run.get(k))
            raise ValueError(
                f"{path} holds records of another run ({', '.join(differing)} differ): "
                "choose another file"
            )
        return rows

    def add(self, row: Row) -> None:
        """Keep a row. Raises `OSError` where the disk is full; all rows before it are safe."""
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")
        self.rows.append(row)

    def missing(self, unit: str, value: Any, variants: Iterable[str]) -> list[str]:
        """The variants without a row in which `unit` is `value`."""
        done = {row.get("variant") for row in self.rows if row.get(unit) == value}
        return [name for name in variants if name not in done]
