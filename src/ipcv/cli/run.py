"""`ipcv run`: ask a model about images, with and without compression."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ipcv.cli import terminal
from ipcv.cli.report import Report
from ipcv.cli.settings import parse_pairs
from ipcv.inputs.overlay import check_inputs, check_target, draw_overlay
from ipcv.inputs.prompt import build_inputs, read_prompt
from ipcv.settings.files import load as load_settings
from ipcv.settings.typed import check_settings, language_settings, vision_settings

Option = typer.Option


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
    settings: Annotated[
        Path | None, Option(help="What ipcv tune wrote, in place of the preset.")
    ] = None,
    prune_layer: Annotated[int | None, Option(show_default="preset")] = None,
    reduction_ratio: Annotated[float | None, Option(show_default="preset")] = None,
    stabilization_layers: Annotated[int | None, Option(show_default="preset")] = None,
    num_neighbors: Annotated[int | None, Option(show_default="preset")] = None,
    scope: Annotated[str | None, Option(help='"item" or "batch".', show_default="preset")] = None,
    selector: Annotated[
        str | None, Option(help="Rule for the patches that are kept.", show_default="preset")
    ] = None,
    reconstruction: Annotated[
        str | None, Option(help="Rule that rebuilds removed ones.", show_default="preset")
    ] = None,
    language: Annotated[
        str,
        Option(
            help="Inside the language model: none, dart, fastv, v2drop or random; "
            "at the encoder's output: visionzip or cdpruner."
        ),
    ] = "none",
    language_option: Annotated[
        list[str] | None,
        Option(help="A setting of that method, such as reduction_ratio=0.5. Repeatable."),
    ] = None,
    compress: Annotated[bool, Option(help="Compress at all.")] = True,
    compare: Annotated[bool, Option(help="With and without compression, side by side.")] = True,
    dtype: Annotated[str, Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    device: Annotated[str | None, Option(show_default="the accelerator, else cpu")] = None,
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
    given = {
        name: value
        for name, value in {
            "prune_layer": prune_layer,
            "reduction_ratio": reduction_ratio,
            "stabilization_layers": stabilization_layers,
            "num_neighbors": num_neighbors,
            "scope": scope,
            "selector": selector,
            "reconstruction": reconstruction,
        }.items()
        if value is not None
    }
    options = parse_pairs(language_option or [])
    saved = load_settings(settings) if settings else None
    check_settings(given, language, options, saved)
    if not compress and (given or saved or language != "none"):
        raise ValueError("--no-compress leaves nothing for settings to apply to")
    check_target(save_overlay, compress)
    media, question = read_prompt(inputs)

    # Only now what takes seconds to import or load.
    from ipcv.bench.cost.jobs import generate
    from ipcv.bench.cost.measure import REPETITIONS, Job, measure
    from ipcv.bench.quality.answers import answer
    from ipcv.bench.variants import Variant
    from ipcv.inputs.loading import load
    from ipcv.models import TINY

    name = model or str(TINY)
    loaded, processor = load(name, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
    compressed = Variant(
        vision_settings(loaded, given, saved),
        language_settings(loaded, language, options, saved),
    )
    variants = {"uncompressed": Variant(), "compressed": compressed}
    if not compress:
        del variants["compressed"]
        compressed = Variant()
    elif not compare:
        del variants["uncompressed"]
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
    report = Report(name, question, compressed, runs, costs)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2))
    else:
        terminal.console().print(report.to_table())
    if save_overlay is not None:
        draw_overlay(media, prompt, runs["compressed"].calls).save(save_overlay)
