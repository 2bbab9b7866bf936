"""`ipcv doctor`: whether a model is supported, and what to expect, before any download."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from ipcv.cli import terminal

if TYPE_CHECKING:
    from rich.table import Table

    from ipcv.bench.checkup import Checkup


def doctor(
    model: Annotated[
        str | None, typer.Argument(help="Folder or hub id.", show_default="the embedded model")
    ] = None,
    size: Annotated[
        list[int] | None, Option(help="Pixels per side. Repeatable.", show_default="448, 896")
    ] = None,
) -> None:
    """Say whether a model can be compressed, how, and what that saves, from its config alone."""
    from ipcv.bench.checkup import check_up
    from ipcv.bench.cost.workload import Workload
    from ipcv.inputs.loading import load_config
    from ipcv.models import TINY
    from ipcv.settings.methods import VISION

    sides = size or [448, 896]
    workloads = [Workload(side) for side in sides]
    config = load_config(model or TINY)
    with terminal.progress() as progress:
        task = progress.add_task("counting", total=1 + len(VISION))
        checkup = check_up(config, workloads, lambda: progress.advance(task))
    terminal.console().print(*_tables(checkup, sides), sep="\n")


def _tables(checkup: Checkup, sides: list[int]) -> list[Table]:
    from rich import box
    from rich.table import Table

    facts = Table(title="supported", box=box.SIMPLE, show_header=False)
    for name, text in checkup.facts.items():
        facts.add_row(name, text)
    for side in checkup.preset:
        if side is not None:
            facts.add_row("preset", str(side))
    for name, why in checkup.refusals.items():
        facts.add_row(f"not {name}", why)
    speedups = Table(
        title="the encoder's speed-up by FLOPs, projector included",
        caption="A bound, at each method's own ratio: ipcv bench measures time. "
        "On a GPU, small pictures one by one gain less.",
        box=box.SIMPLE,
    )
    speedups.add_column("")
    for pixels in sides:
        speedups.add_column(f"{pixels} px", justify="right")
    for method, row in checkup.speedups.items():
        speedups.add_row(method, *(f"{value:.2f}x" for value in row))
    return [facts, speedups]
