"""The verbs of the `ipcv` command: one file each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise

import typer
from typer.exceptions import TyperException

from ipcv.cli.bench import bench
from ipcv.cli.demo import demo
from ipcv.cli.doctor import doctor
from ipcv.cli.eval import evaluate
from ipcv.cli.inspect import inspect
from ipcv.cli.interrupts import INTERRUPTED
from ipcv.cli.models import models
from ipcv.cli.report import report
from ipcv.cli.run import run
from ipcv.cli.serve import serve
from ipcv.cli.terminal import say
from ipcv.cli.tune import tune
from ipcv.cli.version import version

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Compress the vision encoders of multimodal language models, without retraining.",
)
app.command()(run)
app.command()(bench)
app.command("eval")(evaluate)
app.command()(tune)
app.command()(inspect)
app.command()(report)
app.command()(serve)
app.command()(demo)
app.command()(doctor)
app.command()(models)
app.command()(version)


def execute(arguments: Sequence[str] | None) -> int:
    """Run a command: its exit status. Usage errors are told, all other exceptions are raised.

    Raises:
        KeyboardInterrupt: for Ctrl-C, which typer makes a status of, too.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    _require_values(given)
    try:
        status = app(given, standalone_mode=False) or 0
    except TyperException as error:
        if message := " ".join(error.format_message().split()):  # none where the help is all
            say(f"ipcv: {message}")
        return error.exit_code
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    return status


def _require_values(arguments: Sequence[str]) -> None:
    """Raise `ValueError` for an option without a value; as a path it would be this folder."""
    for word, value in pairwise([*arguments, None]):
        name, equals, own = word.partition("=") if word else ("", "", "")
        if name.startswith("-") and (value == "" or (equals and not own)):
            raise ValueError(f"{name} is empty")
