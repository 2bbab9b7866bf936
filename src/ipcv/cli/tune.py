"""`ipcv tune`: settings for your model and your images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from ipcv.cli import terminal
from ipcv.cli.options import DeviceOption, DtypeOption
from ipcv.core.output import check_writable
from ipcv.core.reading import read_text


def tune(
    images: Annotated[Path, Option(help="Folder of images such as yours; kinds in folders of it.")],
    model: Annotated[
        str | None, typer.Argument(help="Folder or hub id.", show_default="the embedded model")
    ] = None,
    prompts: Annotated[
        Path | None,
        Option(help="What is asked about them, one a line: judge by the answers' first token."),
    ] = None,
    speedup: Annotated[
        float | None, Option(help="The best of what is so fast.", show_default="2")
    ] = None,
    fidelity: Annotated[
        float | None, Option(help="The fastest of what is so close to uncompressed, such as 0.98.")
    ] = None,
    trials: Annotated[int, Option(min=1, help="Settings to try.")] = 64,
    size: Annotated[
        int | None, Option(min=1, help="Crops for a vision encoder, in pixels.")
    ] = None,
    seed: Annotated[int, Option(help="Of the search.")] = 0,
    records: Annotated[
        Path | None, Option(help="Keep single results here; an interrupted run goes on from them.")
    ] = None,
    output: Annotated[Path, Option("--output", "-o", help="The settings.")] = Path("ipcv.json"),
    plot: Annotated[Path | None, Option(help="Draw score against encoder time here.")] = None,
    dtype: DtypeOption = "auto",
    device: DeviceOption = None,
) -> None:
    """Find the best settings for a model and images such as yours. No labels are needed.

    Half of the images are searched on, the settings are judged by the others. Folders
    "calibration" and "evaluation" in that of the images are these halves: needed where several
    images are crops of one photo.
    """
    if speedup is not None and fidelity is not None:
        raise ValueError("give --speedup or --fidelity, not both")
    for path in (records, output, plot):
        check_writable(path)

    # Only now what takes seconds to import or load.
    from ipcv.bench.tuning.goals import Floor, Speedup
    from ipcv.bench.tuning.task import Tuning
    from ipcv.inputs.loading import load
    from ipcv.models import TINY

    goal = Speedup(2.0 if speedup is None else speedup) if fidelity is None else Floor(fidelity)
    task = Tuning(images, goal, _lines(prompts), trials, size, seed)
    name = model or str(TINY)
    with terminal.working("loading"):
        loaded, processor = load(name, dtype=dtype, device=device, encoder_alone=True)
    with terminal.progress() as progress:
        bar = progress.add_task("tuning", total=task.steps)
        advance: Callable[[], None] = lambda: progress.advance(bar)  # noqa: E731
        outcome = task.run(name, loaded, processor, records, advance)
    terminal.console().print(*outcome.tables(), sep="\n")
    outcome.settings.save(output, outcome.to_dict())
    if plot is not None:
        from ipcv.bench.quality.plot import plot_quality

        plot_quality(plot, outcome.report.points, outcome.report.label)
    terminal.say(f"wrote {output}")


def _lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    if not (prompts := [line for line in read_text(path).splitlines() if line.strip()]):
        raise ValueError(f"{path} holds no prompt")
    return prompts
