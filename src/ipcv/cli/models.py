"""`ipcv models`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from ipcv.encoders.registry import FAMILIES


def models() -> None:
    """List what can be compressed."""
    table = Table(title="Supported models", show_lines=True)
    for column in ("family", "model types", "example checkpoint", "vision encoder", "preset"):
        table.add_column(column, overflow="fold")
    for family in FAMILIES:
        settings = family.settings
        table.add_row(
            family.name,
            ", ".join(family.model_types),
            family.checkpoint,
            family.shape,
            f"prune_layer {settings.prune_layer}, stabilization_layers "
            f"{settings.stabilization_layers} of {family.depth} blocks "
            f"({'published' if family.published else 'scaled'})",
        )
    Console().print(table)
