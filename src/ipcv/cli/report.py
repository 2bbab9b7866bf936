"""`ipcv report`: what compression keeps, as one page for somebody who was not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from ipcv.bench.variants import check_methods, check_ratios, saved_variant
from ipcv.cli import terminal
from ipcv.cli.options import DeviceOption, DtypeOption, MethodsOption, RatiosOption, TunedOption
from ipcv.core.output import check_writable, whole_file


def report(
    images: Annotated[Path, Option(help="Folder of any images; kinds in folders of it.")],
    model: Annotated[
        str | None, typer.Argument(help="Folder or hub id.", show_default="the embedded model")
    ] = None,
    output: Annotated[Path, Option("--output", "-o", help="The page.")] = Path("report.html"),
    method: MethodsOption = None,
    ratio: RatiosOption = None,
    settings: TunedOption = None,
    size: Annotated[
        int | None, Option(min=1, help="Crops for a vision encoder, in pixels.")
    ] = None,
    records: Annotated[
        Path | None, Option(help="Keep single results here; an interrupted run goes on from them.")
    ] = None,
    dtype: DtypeOption = "auto",
    device: DeviceOption = None,
) -> None:
    """Measure on a folder of images, and write all of it into one HTML file.

    It has the picture of quality against time, methods at equal time, settings to download, and
    the best and worst images with what is kept of them. It needs no network and no other file.
    """
    methods, ratios = check_methods(method), check_ratios(ratio)
    for path in (records, output):
        check_writable(path)
    saved = saved_variant(settings)

    # Only now what takes seconds to import or load.
    from ipcv.bench.handout import Handout
    from ipcv.bench.plots import pyplot
    from ipcv.bench.quality.evaluation import Fidelity
    from ipcv.bench.quality.observe import observer
    from ipcv.bench.variants import make_variants
    from ipcv.inputs.loading import load
    from ipcv.models import TINY

    pyplot()  # raises where it is missing
    name, task = model or str(TINY), Fidelity(images, new_tokens=1, side=size)
    steps = task.steps
    with terminal.working("loading"):
        loaded, processor = load(name, dtype=dtype, device=device, encoder_alone=True)
    variants = make_variants(loaded, methods, ratios) | saved
    with terminal.progress() as progress:
        bar = progress.add_task("measuring", total=steps)
        advance: Callable[[], None] = lambda: progress.advance(bar)  # noqa: E731
        found = task.run(name, loaded, processor, variants, records, advance)
    with terminal.working("drawing"):
        observe = observer(loaded, processor, new_tokens=1, side=size)
        handout = Handout(
            name, loaded, processor is not None, images, observe, variants, found, size
        )
        page = handout.to_html()
    with whole_file(output) as part:
        part.write_text(page, encoding="utf-8")
    terminal.say(f"wrote {output}")
