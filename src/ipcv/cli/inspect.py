"""`ipcv inspect`: what happens to one image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from ipcv.bench.variants import ABLATIONS, check_methods, check_ratios
from ipcv.cli import terminal
from ipcv.cli.options import DeviceOption, RatiosOption
from ipcv.core.output import check_writable
from ipcv.inputs.media import load_image
from ipcv.vision.pruning import PruningMethod

INSPECTED = ("ipcv", "published", "adaptive", *ABLATIONS)
"""Methods whose kept patches can be shown."""


def inspect(
    image: Annotated[Path, typer.Argument(help="An image file.")],
    output: Annotated[Path, Option("--output", "-o", help="The picture to draw.")],
    model: Annotated[
        str | None, Option(help="Folder or hub id.", show_default="the embedded model")
    ] = None,
    method: Annotated[str, Option(help=f"One of {', '.join(INSPECTED)}.")] = "ipcv",
    ratio: RatiosOption = None,
    patch: Annotated[
        str | None, Option(metavar="X,Y", help="Show which patches rebuild this one.")
    ] = None,
    size: Annotated[int | None, Option(help="The crop for a vision encoder, in pixels.")] = None,
    device: DeviceOption = None,
) -> None:
    """Draw what is kept of an image, which patches rebuild a removed one, and the errors left."""
    methods, ratios = check_methods([method]), check_ratios(ratio)
    check_writable(output)
    place, picture = _place(patch), load_image(image)

    # Only now what takes seconds to import or load.
    from ipcv.bench.inspection import draw, inspect_image
    from ipcv.bench.plots import save
    from ipcv.bench.quality.observe import crop, observer
    from ipcv.bench.variants import UNCOMPRESSED, make_variants
    from ipcv.inputs.loading import load
    from ipcv.models import TINY

    with terminal.working("loading"):
        loaded, processor = load(model or str(TINY), device=device, encoder_alone=True)
    variants = make_variants(loaded, methods, ratios)
    del variants[UNCOMPRESSED]
    visions = {name: variant.vision for name, variant in variants.items()}
    settings = {name: v for name, v in visions.items() if isinstance(v, PruningMethod)}
    if not settings:
        raise ValueError(f"{method} merges patches in every block: none is kept or removed")
    observe = observer(loaded, processor, new_tokens=1, side=size)
    with terminal.working("inspecting"):
        found = inspect_image(loaded, observe, picture, settings, place)
    shown = picture if processor is not None else crop(loaded, picture, size)
    save(draw(shown, found, place), output)
    terminal.say(f"wrote {output}")


def _place(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdigit() for part in parts):
        raise ValueError(f"a patch is two numbers, column and row, such as 3,5: got {text!r}")
    return int(parts[0]), int(parts[1])
