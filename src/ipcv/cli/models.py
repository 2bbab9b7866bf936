"""`ipcv models`: what can be compressed."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from ipcv.cli import families_table as table
from ipcv.cli import terminal


def models(
    markdown: Annotated[bool, typer.Option("--markdown", help="As docs/models.md has it.")] = False,
) -> None:
    """List what can be compressed, and with which preset."""
    if markdown:
        typer.echo(table.markdown())
        return
    printed = Table(
        title="Supported models",
        caption="Presets are scaled to the depth of a model's own encoder; "
        "p is prune_layer, A is stabilization_layers.",
        show_lines=True,
    )
    for column in table.COLUMNS:
        printed.add_column(column, overflow="fold")
    for row in table.rows():
        printed.add_row(*row)
    terminal.console().print(printed)
