"""What a search tries: methods by name, and random settings of `ipcv.IPCV`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from random import Random
from typing import NamedTuple

from torch import nn

from ipcv.api import VisionMethod, compress
from ipcv.bench.variants import VISION_METHODS
from ipcv.config import IPCV
from ipcv.encoders.registry import adapter_for
from ipcv.reconstruction import RECONSTRUCTORS
from ipcv.selectors import SELECTORS

PUBLISHED = "published"
NEIGHBORS = (1, 3, 5, 10, 20)


class Candidate(NamedTuple):
    """A method with all its settings but the fraction of patches that it removes.

    Attributes:
        name: by which it is told from others.
        at: the method at a fraction.
    """

    name: str
    at: Callable[[float], VisionMethod]


def named_candidates(model: nn.Module) -> list[Candidate]:
    """The vision methods that have a name and work in the vision encoder of `model`.

    Of two names for the same the first one, "published" before all.
    """
    result: dict[VisionMethod, Candidate] = {}
    for name in (PUBLISHED, *VISION_METHODS):
        vision = VISION_METHODS[name](model, 0.5).vision
        if vision is not None and _works(model, vision):
            result.setdefault(vision, Candidate(name, partial(_named, model, name)))
    return list(result.values())


def _named(model: nn.Module, name: str, ratio: float) -> VisionMethod:
    vision = VISION_METHODS[name](model, ratio).vision
    assert vision is not None
    return vision


def _works(model: nn.Module, vision: VisionMethod) -> bool:
    try:
        with compress(model, vision):
            return True
    except ValueError:  # such as token merging where there are windows
        return False


def of_settings(settings: IPCV) -> Candidate:
    """The candidate with these settings."""
    name = (
        f"{settings.selector}+{settings.reconstruction} p{settings.prune_layer} "
        f"A{settings.stabilization_layers} k{settings.num_neighbors}"
    )
    return Candidate(name, lambda ratio: dataclasses.replace(settings, reduction_ratio=ratio))


@dataclasses.dataclass(frozen=True)
class Space:
    """Settings of `ipcv.IPCV` for an encoder of `depth` blocks."""

    depth: int

    @classmethod
    def of(cls, model: nn.Module) -> Space:
        """Those for the vision encoder of `model`."""
        return cls(len(adapter_for(model).blocks))

    def draw(self, rng: Random) -> IPCV:
        """Random settings."""
        layer = rng.randint(1, self.depth - 1)
        return IPCV(
            prune_layer=layer,
            stabilization_layers=rng.randint(0, self.depth - layer),
            num_neighbors=rng.choice(NEIGHBORS),
            selector=rng.choice([*SELECTORS]),
            reconstruction=rng.choice([*RECONSTRUCTORS]),
        )

    def vary(self, settings: IPCV, rng: Random) -> IPCV:
        """The settings with one of them drawn anew."""
        name = rng.choice(
            ("prune_layer", "stabilization_layers", "num_neighbors", "selector", "reconstruction")
        )
        fresh = getattr(self.draw(rng), name)
        return IPCV(**settings.to_dict() | {name: fresh})
