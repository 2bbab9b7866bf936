"""The search for the cheapest setting whose answer does not change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ipcv.bench.clock import metered
from ipcv.bench.cost.flops import flop_counter
from ipcv.bench.variants import UNCOMPRESSED, VISION_METHODS, Variant
from ipcv.demo.actions import Desk
from ipcv.families import adapter_for
from ipcv.settings.methods import VISION, make
from ipcv.vision.method import VisionMethod

FRACTIONS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
"""Of the patches that are removed, tried from the first on."""

RATIO = "reduction_ratio"
STEPS = 1 + len(VISION) * len(FRACTIONS)
"""How often a search asks at most."""


class Cheapest(NamedTuple):
    """What a search found.

    Attributes:
        method: its name.
        setting: the method with its settings.
        gflops: of the encoder.
        uncompressed_gflops: without it.
    """

    method: str
    setting: VisionMethod
    gflops: float
    uncompressed_gflops: float


def cheapest(
    desk: Desk,
    file: Path,
    question: str,
    on_step: Callable[[int, str], object] = lambda done, what: None,
) -> Cheapest | None:
    """The setting of fewest encoder FLOPs that gives the uncompressed answer, `None` without one.

    Of each method fractions are tried from high to low, up to the first with that answer: lower
    ones cost more. Methods and fractions that the model cannot take are left out.

    Args:
        desk: the model.
        file: a picture or clip.
        question: what is asked about it.
        on_step: told how many of `STEPS` are done, and what comes next.

    Raises:
        ValueError: what `Desk.prompt` raises.
    """
    _, prompt = desk.prompt(file, question)
    on_step(0, UNCOMPRESSED)
    wanted, most = _ask(desk, prompt, Variant())
    best: Cheapest | None = None
    for number, method in enumerate(VISION):
        for place, fraction in enumerate(FRACTIONS):
            on_step(1 + number * len(FRACTIONS) + place, f"{method} {fraction:g}")
            try:
                setting = _setting(desk, method, fraction)
                found, gflops = _ask(desk, prompt, Variant(setting))
            except ValueError:
                continue
            limit = best.gflops if best else most
            if found == wanted and gflops < limit:
                best = Cheapest(method, setting, gflops, most)
            if found == wanted or gflops >= limit:
                break
    return best


def _setting(desk: Desk, method: str, fraction: float) -> VisionMethod:
    """The method's defaults for the model, but for how much goes."""
    default = desk.default(method)
    settings = default.to_dict()
    if RATIO in settings:
        return make(type(default), settings | {RATIO: fraction})
    merging = VISION_METHODS[method](desk.model, fraction).vision
    assert merging is not None
    return merging


def _ask(desk: Desk, prompt: Any, variant: Variant) -> tuple[str, float]:
    """The answer, and the encoder's GFLOPs."""
    encoder = adapter_for(desk.model).encoder
    with (
        desk.lock,
        flop_counter() as counter,
        metered(encoder, counter.get_total_flops) as flops,
    ):
        answer = desk.ask(prompt, variant).answer
    return answer, sum(flops) / 1e9
