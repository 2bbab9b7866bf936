"""`ipcv bench`: what compression costs and saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from ipcv.bench.scenes.pictures import DRAWN, PICTURES, check_pictures
from ipcv.bench.variants import Variant, check_methods, check_ratios, saved_variant
from ipcv.cli import terminal
from ipcv.cli.options import DeviceOption, DtypeOption, MethodsOption, RatiosOption, TunedOption
from ipcv.core.output import check_writable, write_csv, write_json

if TYPE_CHECKING:
    from torch import nn

    from ipcv.bench.cost.workload import Workload


def bench(
    model: Annotated[
        str | None, typer.Argument(help="Folder or hub id.", show_default="the embedded model")
    ] = None,
    shape: Annotated[
        str | None, Option(help="Built-in dimensions instead, such as qwen2-vl-7b.")
    ] = None,
    random_weights: Annotated[
        bool, Option("--random-weights", help="Measure the dimensions of a model alone.")
    ] = False,
    depth: Annotated[
        int | None, Option(help="Blocks of the shape's encoder.", show_default="all")
    ] = None,
    language_model: Annotated[
        bool, Option("--language-model", help="Measure the language model, too.")
    ] = False,
    method: MethodsOption = None,
    ratio: RatiosOption = None,
    settings: TunedOption = None,
    size: Annotated[
        list[int] | None, Option(help="Pixels per side. Repeatable.", show_default="448")
    ] = None,
    images: Annotated[int, Option(min=1, help="Images in a prompt.")] = 1,
    frames: Annotated[int, Option(min=0, help="A video of so many frames instead.")] = 0,
    repetitions: Annotated[int, Option(min=2)] = 5,
    new_tokens: Annotated[int, Option(min=2, help="With --language-model.")] = 8,
    url: Annotated[
        str | None, Option(help="Instead of a model: a running server that compresses, and")
    ] = None,
    url_baseline: Annotated[str | None, Option(help="one that does not, to ask the same.")] = None,
    prompts: Annotated[
        int, Option(min=2, max=10_000, help="For servers: questions of the suite.")
    ] = 64,
    concurrency: Annotated[
        int, Option(min=1, max=1_000, help="For servers: requests at a time.")
    ] = 8,
    picture: Annotated[
        list[str] | None,
        Option(help=f"For servers: {', '.join(PICTURES)}; repeat.", show_default=DRAWN),
    ] = None,
    dtype: DtypeOption = "auto",
    device: DeviceOption = None,
    json: Annotated[Path | None, Option(help="Write all numbers here.")] = None,
    csv: Annotated[Path | None, Option(help="The same as CSV.")] = None,
    plot: Annotated[Path | None, Option(help="Draw measured time against FLOPs here.")] = None,
) -> None:
    """Measure time, FLOPs and memory of a model, uncompressed and compressed, side by side.

    The images are noise: cost does not depend on what they show.
    """
    for path in (json, csv, plot):
        check_writable(path)
    if url is not None or url_baseline is not None:
        if any((model, shape, method, ratio, settings, csv, plot)):
            raise ValueError(
                "with --url, servers say what they serve: "
                "only --prompts, --concurrency, --picture, --size and --json go with it"
            )
        pictures = check_pictures(picture or [DRAWN])
        _compare_servers(url, url_baseline, prompts, concurrency, pictures, size or [448], json)
        return
    if picture:
        raise ValueError("--picture is for servers: costs do not depend on what is shown")
    methods, ratios = check_methods(method), check_ratios(ratio)

    saved = saved_variant(settings)

    # Only now what takes seconds to import or load.
    from ipcv.bench.cost.subject import load_subject
    from ipcv.bench.cost.workload import Workload
    from ipcv.bench.environment import environment
    from ipcv.bench.variants import make_variants

    workloads = [Workload(side, images, frames) for side in size or [448]]
    with terminal.working("loading"):
        loaded = load_subject(
            model,
            shape=shape,
            random_weights=random_weights,
            depth=depth,
            vision_only=not language_model,
            dtype=dtype,
            device=device,
        )
    variants = make_variants(loaded, methods, ratios) | saved
    measured = _measure(
        loaded, variants, workloads, repetitions, new_tokens if language_model else 0
    )
    if json is not None:
        write_json(json, {"environment": environment(loaded), "rows": measured})
    if csv is not None:
        write_csv(csv, measured)
    if plot is not None:
        from ipcv.bench.cost.plot import plot_costs

        plot_costs(plot, measured)


def _measure(
    model: nn.Module,
    variants: Mapping[str, Variant],
    workloads: Sequence[Workload],
    repetitions: int,
    new_tokens: int,
) -> list[dict[str, Any]]:
    """Print a table per workload as soon as it is measured; all rows."""
    from ipcv.bench.cost.jobs import make_jobs
    from ipcv.bench.cost.measure import measure
    from ipcv.bench.cost.table import rows, tables

    measured, console = list[dict[str, Any]](), terminal.console()
    with terminal.progress() as progress:
        steps = len(workloads) * len(variants) * (repetitions + 1)
        task = progress.add_task("measuring", total=steps)
        for workload in workloads:
            jobs = make_jobs(model, variants, workload, new_tokens)
            costs = measure(model, jobs, repetitions, lambda: progress.advance(task))
            measured += (own := rows(str(workload), costs))
            console.print(*tables(own))
    return measured


def _compare_servers(
    url: str | None,
    url_baseline: str | None,
    prompts: int,
    concurrency: int,
    pictures: Sequence[str],
    sizes: Sequence[int],
    json: Path | None,
) -> None:
    """The same questions to two running servers."""
    if url is None or url_baseline is None:
        raise ValueError("comparing servers needs both --url and --url-baseline")
    if len(sizes) > 1:
        raise ValueError("servers are compared with images of one --size")
    from ipcv.bench.servers import compare_servers, suite_prompts

    # The first ones warm up.
    asked = suite_prompts(prompts + concurrency, sizes[0], pictures)
    with terminal.progress() as progress:
        task = progress.add_task("asking", total=len(asked))
        comparison = compare_servers(
            url,
            url_baseline,
            asked,
            concurrency=concurrency,
            on_step=lambda: progress.advance(task),
        )
    terminal.console().print(comparison.to_table())
    if json is not None:
        write_json(json, comparison.to_dict())
