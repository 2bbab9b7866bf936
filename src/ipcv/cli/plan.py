"""The plan of a server: effective settings, and what they mean for pictures, before any weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipcv.cli import terminal

if TYPE_CHECKING:
    from rich.table import Table

    from ipcv.integrations.vllm.settings import Settings

SIDES = (224, 448, 896, 1344)
"""Pixels per side of the pictures that are planned for."""


def show_plan(model: str, given: dict[str, Any]) -> None:
    """Print what a server of the model would do with settings, and how it would be started.

    Raises:
        ValueError: the model cannot be served compressed, or a setting is wrong.
    """
    from ipcv.inputs.loading import load_config
    from ipcv.integrations.vllm.settings import Settings

    config = load_config(model)
    settings = Settings.from_config(given, config)
    with terminal.working("counting"):
        pictures = _pictures(config, settings)
    terminal.console().print(_facts(settings), pictures, sep="\n")


def _facts(settings: Settings) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title="effective settings", box=box.SIMPLE, show_header=False)
    table.add_row("vision encoder", str(settings.vision))
    table.add_row("attention", settings.attention)
    table.add_row("encoder graphs", "yes" if settings.encoder_graphs else "no")
    table.add_row("language model", str(settings.tokens or "gets all visual tokens"))
    return table


def _pictures(config: Any, settings: Settings) -> Table:
    from rich import box
    from rich.table import Table

    from ipcv.bench.cost.weightless import expected_gflops, without_weights
    from ipcv.bench.cost.workload import Workload
    from ipcv.bench.variants import Variant
    from ipcv.families import family_of
    from ipcv.inputs.loading import meta_model

    table = Table(
        title="per square picture",
        caption="Of larger ones than the processor's max_pixels, as many as of that size.",
        box=box.SIMPLE,
    )
    for name in ("", "visual tokens", "in the prompt", "encoder GFLOPs", "compressed"):
        table.add_column(name, justify="right")
    model = without_weights(meta_model(config))
    are_known = family_of(config.model_type).image_arguments is not None
    for side in SIDES:
        workload, numbers = Workload(side), ("?", "?")
        if are_known:
            ids = workload.for_model(model)["input_ids"]
            tokens = int((ids == config.image_token_id).sum())
            numbers = str(tokens), str(settings.kept(tokens))
        variants = Variant(), Variant(settings.vision)
        gflops = [f"{expected_gflops(model, one, workload):,.2f}" for one in variants]
        table.add_row(f"{side} px", *numbers, *gflops)
    return table
