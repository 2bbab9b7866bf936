"""`ipcv run`: ask a model about images, with and without compression."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from ipcv.bench.run_report import RunReport
from ipcv.cli import terminal
from ipcv.cli.options import (
    DeviceOption,
    DtypeOption,
    FileOption,
    MethodOption,
    RatioOption,
    SetOption,
    vision_settings,
)
from ipcv.inputs.overlay import check_inputs, check_target, draw_overlay
from ipcv.inputs.prompt import build_inputs, read_prompt
from ipcv.settings.methods import LANGUAGE
from ipcv.settings.typed import Given, parse_pairs


def run(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE... QUESTION",
            help="Image or video files, then the question. Without any: a shipped example.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None, Option(help="Folder or hub id.", show_default="the embedded model")
    ] = None,
    file: FileOption = None,
    method: MethodOption = None,
    reduction_ratio: RatioOption = None,
    values: SetOption = None,
    language: Annotated[
        str,
        Option(help=f"In the language model or in front of it: none, {', '.join(LANGUAGE)}."),
    ] = "none",
    language_option: Annotated[
        list[str] | None,
        Option(help="A setting of that method, such as reduction_ratio=0.5. Repeatable."),
    ] = None,
    compress: Annotated[bool, Option(help="Compress at all.")] = True,
    compare: Annotated[bool, Option(help="With and without compression, side by side.")] = True,
    dtype: DtypeOption = "auto",
    device: DeviceOption = None,
    max_new_tokens: Annotated[int, Option(min=1)] = 64,
    as_json: Annotated[bool, Option("--json", help="Print JSON instead of a table.")] = False,
    save_overlay: Annotated[
        Path | None, Option(help="Write the images with their removed patches dimmed.")
    ] = None,
    trust_remote_code: Annotated[
        bool, Option("--trust-remote-code", help="Let the checkpoint's own code run.")
    ] = False,
) -> None:
    """Ask a model about images or videos, with and without compression."""
    settings = vision_settings(reduction_ratio, values)
    given = Given(method, settings, language, parse_pairs(language_option), file)
    if not compress and given != Given():
        raise ValueError("--no-compress leaves nothing for settings to apply to")
    check_target(save_overlay, compress)
    media, question = read_prompt(inputs)

    # Only now what takes seconds to import or load.
    from ipcv.bench.cost.measure import REPETITIONS, Job, measure
    from ipcv.bench.generation import generate
    from ipcv.bench.quality.answers import answer
    from ipcv.bench.variants import Variant
    from ipcv.inputs.loading import load
    from ipcv.models import EXAMPLE, TINY

    if not inputs:
        terminal.say(f'asking about {EXAMPLE}; for yours: ipcv run photo.jpg "What is it?"')
    name = model or str(TINY)
    with terminal.working("loading"):
        loaded, processor = load(
            name, dtype=dtype, device=device, trust_remote_code=trust_remote_code
        )
    compressed = Variant(*given.for_model(loaded))
    variants = {"uncompressed": Variant(), "compressed": compressed}
    if not (compress and compare):
        del variants["uncompressed" if compress else "compressed"]
    prompt = build_inputs(loaded, processor, media, question, max_new_tokens)
    if save_overlay is not None:
        check_inputs(prompt)
    with terminal.progress() as progress:
        task = progress.add_task("running", total=len(variants) * (REPETITIONS + 2))
        runs = {}
        for key, variant in variants.items():
            runs[key] = answer(loaded, processor, prompt, variant, max_new_tokens)
            progress.advance(task)
        call = partial(generate, loaded, prompt, max_new_tokens)
        jobs = {key: Job(variant, call) for key, variant in variants.items()}
        costs = measure(loaded, jobs, REPETITIONS, lambda: progress.advance(task))
    report = RunReport(name, question, compressed if compress else Variant(), runs, costs)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2))
    else:
        terminal.console().print(report.to_table())
    if save_overlay is not None:
        draw_overlay(media, prompt, runs["compressed"].calls).save(save_overlay)
