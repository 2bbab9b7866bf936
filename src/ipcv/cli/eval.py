"""`ipcv eval`: what compression keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from ipcv.bench.scenes.pictures import PICTURES, check_pictures
from ipcv.bench.variants import Variant, check_methods, check_ratios, saved_variant
from ipcv.cli import terminal
from ipcv.cli.options import (
    DeviceOption,
    DtypeOption,
    MethodsOption,
    RatiosOption,
    SetsOption,
    TunedOption,
    shared_settings,
)
from ipcv.core.output import check_writable, write_json


def evaluate(
    model: Annotated[
        str | None, typer.Argument(help="Folder or hub id.", show_default="the embedded model")
    ] = None,
    images: Annotated[
        Path | None, Option(help="Folder of any images: how close the compressed model stays.")
    ] = None,
    tasks: Annotated[
        str | None, Option(help="Tasks of lmms-eval, separated by commas, such as gqa,mme.")
    ] = None,
    include: Annotated[Path | None, Option(help="Folder with YAML files of more tasks.")] = None,
    questions: Annotated[
        int | None,
        Option(min=1, max=20_000, help="Of the suite, or per task.", show_default="300, or all"),
    ] = None,
    picture: Annotated[
        list[str] | None,
        Option(help=f"Of the suite: {', '.join(PICTURES)}; repeat.", show_default="all"),
    ] = None,
    time: Annotated[
        float, Option(help="Name the best methods at this part of the encoder time.")
    ] = 0.5,
    batch_size: Annotated[int, Option(min=1, max=4096, help="With --tasks.")] = 1,
    method: MethodsOption = None,
    ratio: RatiosOption = None,
    values: SetsOption = None,
    settings: TunedOption = None,
    prompt: Annotated[str, Option(help="What is asked about --images.")] = "Describe the image.",
    new_tokens: Annotated[int, Option(min=1, help="Of the answer to it.")] = 16,
    size: Annotated[
        int | None, Option(help="Of the pictures, or of --images for a vision encoder, in pixels.")
    ] = None,
    records: Annotated[
        Path | None, Option(help="Keep single results here; an interrupted run goes on from them.")
    ] = None,
    json: Annotated[Path | None, Option(help="Write the summary here.")] = None,
    plot: Annotated[Path | None, Option(help="Draw quality against encoder time here.")] = None,
    dtype: DtypeOption = "auto",
    device: DeviceOption = None,
) -> None:
    """Measure what compression keeps: right answers, or fidelity to the uncompressed model.

    By default the suite: questions about drawn pictures, for the embedded model. With --images,
    no labels are needed: outputs are compared to the uncompressed model's.
    """
    pictures = _checked(picture, time, suite=not (images or tasks))
    methods, ratios = check_methods(method), check_ratios(ratio)
    for path in (records, json, plot):
        check_writable(path)
    saved, shared = saved_variant(settings), shared_settings(values)
    if tasks is not None and (images or records or plot):
        raise ValueError("--tasks goes with --json alone: lmms-eval keeps records of its own")

    # Only now what takes seconds to import or load.
    from ipcv.bench.environment import environment
    from ipcv.bench.quality.evaluation import Fidelity, Suite
    from ipcv.bench.variants import changed, make_variants
    from ipcv.inputs.loading import load
    from ipcv.models import TINY

    name = model or str(TINY)
    task = (
        Fidelity(images, prompt, new_tokens, size)
        if images
        else Suite(questions or 300, pictures, size)
    )
    with terminal.working("loading"):
        loaded, processor = load(name, dtype=dtype, device=device, encoder_alone=images is not None)
    variants = changed(make_variants(loaded, methods, ratios), shared) | saved
    if tasks is not None:
        del loaded  # lmms-eval loads its own
        options = {"dtype": dtype, "device": device}
        _run_tasks(tasks.split(","), name, variants, options, batch_size, questions, include, json)
        return
    with terminal.progress() as progress:
        bar = progress.add_task("evaluating", total=task.steps)
        advance: Callable[[], None] = lambda: progress.advance(bar)  # noqa: E731
        report = task.run(name, loaded, processor, variants, records, advance)
    console = terminal.console()
    for part in report.tables(time):
        console.print(part)
    content: dict[str, Any] = {"environment": environment(loaded), **report.to_dict(time)}
    if json is not None:
        write_json(json, content)
    if plot is not None:
        from ipcv.bench.quality.plot import plot_quality

        plot_quality(plot, report.points, report.label)


def _checked(picture: list[str] | None, time: float, suite: bool) -> tuple[str, ...]:
    """The pictures. Raises `ValueError` for these where there is no suite, and for the time."""
    if picture and not suite:
        raise ValueError("--picture goes with the suite, not with --images or --tasks")
    if not 0 < time <= 1:
        raise ValueError(f"time must be above 0 and at most 1, got {time:g}")
    return check_pictures(picture)


def _run_tasks(
    tasks: list[str],
    model: str,
    variants: Mapping[str, Variant],
    options: dict[str, Any],
    batch_size: int,
    limit: int | None,
    include: Path | None,
    json: Path | None,
) -> None:
    """Each variant by lmms-eval."""
    from ipcv.integrations.lmms_eval.arguments import arguments_of
    from ipcv.integrations.lmms_eval.front import metrics_table, run

    terminal.give_back()
    given = {name: value for name, value in options.items() if value is not None}
    settings = {name: arguments_of(variant) | given for name, variant in variants.items()}
    results = {
        name: run(tasks, model, own, batch_size=batch_size, limit=limit, include=include)
        for name, own in settings.items()
    }
    if all(results.values()):  # in the first of several processes
        terminal.console().print(metrics_table(results))
        if json is not None:
            write_json(json, results)
