"""The `ipcv` command: one file per verb."""

from __future__ import annotations

import sys

import typer
from typer.exceptions import TyperException

from ipcv.cli.bench import bench
from ipcv.cli.eval import evaluate
from ipcv.cli.inspect import inspect
from ipcv.cli.models import models
from ipcv.cli.run import run
from ipcv.cli.serve import serve
from ipcv.cli.tune import tune
from ipcv.cli.version import version

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Compress the vision encoders of multimodal language models, without retraining.",
)
app.command()(run)
app.command()(bench)
app.command("eval")(evaluate)
app.command()(tune)
app.command()(inspect)
app.command()(serve)
app.command()(models)
app.command()(version)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. What a user can mend is one line on stderr and a non-zero exit status.

    Args:
        arguments: those of the process by default.
    """
    try:
        status = app(arguments, standalone_mode=False)
    except TyperException as error:
        status = _fail(error.format_message(), error.exit_code)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        status = _fail(str(error), 1)
    except typer.Abort:
        status = 130
    sys.exit(status)


def _fail(message: str, status: int) -> int:
    if message:  # without a command, the help is all
        print("ipcv:", " ".join(message.split()), file=sys.stderr)
    return status
