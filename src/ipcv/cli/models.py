"""`ipcv models`: what can be compressed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.table import Table

from ipcv.cli import families_table as table
from ipcv.cli import terminal
from ipcv.families import UNSUPPORTED

SHOWN = ("family", "model types", "language model", "vLLM")
"""Columns that fit a terminal."""


def models(
    markdown: Annotated[bool, typer.Option("--markdown", help="As docs/models.md has it.")] = False,
) -> None:
    """List what can be compressed, and the published settings for it."""
    if markdown:
        typer.echo(table.markdown())
        return
    shown = [table.COLUMNS.index(name) for name in SHOWN]
    rows = (tuple(row[i] for i in shown) for row in table.rows())
    _print(Table(title="Supported models", caption="All columns: --markdown"), SHOWN, rows)
    _print(Table(title="Not supported"), table.UNSUPPORTED_COLUMNS, UNSUPPORTED.items())


def _print(printed: Table, columns: Iterable[str], rows: Iterable[tuple[str, ...]]) -> None:
    for column in columns:
        printed.add_column(column, overflow="fold")
    for row in rows:
        printed.add_row(*row)
    terminal.console().print(printed)
