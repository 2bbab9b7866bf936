"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from ipcv.bench.variants import METHODS
from ipcv.settings.methods import PRUNING, VISION
from ipcv.settings.typed import Given, parse_pairs

_NAMES = ", ".join(name if name in PRUNING else f"{name} (in no server)" for name in VISION)
MethodOption = Annotated[
    str | None,
    Option("--method", help=f"In the vision encoder: {_NAMES}.", show_default="preset"),
]
RatioOption = Annotated[
    float | None,
    Option("--reduction-ratio", help="Fraction of the patches removed.", show_default="preset"),
]
SetOption = Annotated[
    list[str] | None,
    Option("--set", metavar="KEY=VALUE", help="Another setting of the method. Repeatable."),
]
FileOption = Annotated[
    Path | None,
    Option("--settings", help="What ipcv tune wrote, in place of the preset."),
]

MethodsOption = Annotated[
    list[str] | None,
    Option(
        "--method",
        help=f"One of {', '.join(METHODS)}. Repeatable. ipcv+dart is both.",
        show_default="ipcv, tome, downsample",
    ),
]
RatiosOption = Annotated[
    list[float] | None,
    Option("--ratio", help="Fraction removed. Repeatable.", show_default="0.35, 0.5, 0.65, 0.8"),
]
SetsOption = Annotated[
    list[str] | None,
    Option(
        "--set",
        metavar="KEY=VALUE",
        help="Another setting of the vision methods that have it. Repeatable.",
    ),
]
TunedOption = Annotated[
    Path | None,
    Option("--settings", help='What ipcv tune wrote, as another variant, "tuned".'),
]

DtypeOption = Annotated[str, Option("--dtype", help="auto, float32, bfloat16 or float16.")]
DeviceOption = Annotated[str | None, Option("--device", show_default="the accelerator, else cpu")]


def shared_settings(values: list[str] | None) -> Mapping[str, Any]:
    """What `SetsOption` says. Raises `ValueError` for what no method takes, and for the ratio."""
    given = Given(vision=parse_pairs(values)).vision
    if "reduction_ratio" in given:
        raise ValueError("reduction_ratio is what --ratio is for")
    return given


def vision_settings(ratio: float | None, values: list[str] | None) -> dict[str, Any]:
    """What `RatioOption` and `SetOption` say. Raises `ValueError` for what is no setting."""
    ratios = [] if ratio is None else [f"reduction_ratio={ratio}"]
    return parse_pairs([*ratios, *(values or [])])
