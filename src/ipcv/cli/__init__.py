"""The `ipcv` command: one file per verb."""

from __future__ import annotations

import sys

import typer

from ipcv.cli.models import models
from ipcv.cli.run import run
from ipcv.cli.version import version

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Compress the vision encoders of multimodal language models, without retraining.",
)
app.command()(run)
app.command()(models)
app.command()(version)


def main() -> None:
    """Run the command line. What a user can mend is one line on stderr and exit status 1."""
    try:
        app()
    except (ValueError, OSError, ImportError) as error:
        message = " ".join(str(error).split())
        print(f"ipcv: {message}", file=sys.stderr)
        sys.exit(1)
