"""`ipcv demo`: a page in the browser to try a model on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from ipcv.cli import terminal
from ipcv.cli.options import DeviceOption, DtypeOption
from ipcv.demo.server import opened, require_gradio


def demo(
    model: Annotated[
        str | None, Option(help="Folder or hub id.", show_default="the embedded model")
    ] = None,
    host: Annotated[str, Option(help="0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        Option(min=1, max=65535, show_default="the first free one from 7860 on"),
    ] = None,
    dtype: DtypeOption = "auto",
    device: DeviceOption = None,
) -> None:
    """Open a page that asks a model about pictures, with and without compression."""
    require_gradio()

    # Only now what takes seconds to import or load.
    from ipcv.demo.actions import Desk
    from ipcv.inputs.loading import load
    from ipcv.models import TINY

    with terminal.working("loading"):
        loaded, processor = load(model or str(TINY), dtype=dtype, device=device)
    shown = Path(model).name if model else "the small one that ships with ipcv"
    with opened(Desk(shown, loaded, processor)) as page:
        address = page.launch(host, port)
        typer.echo(f"open {address} in a browser; Ctrl-C ends it")
        page.blocks.block_thread()
