"""Candidates of a search: methods by name, and random settings."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any, NamedTuple

from torch import nn

from ipcv.api import compress
from ipcv.baselines import RunLength
from ipcv.bench.variants import VISION_METHODS
from ipcv.families import adapter_for, family_of, model_type_of
from ipcv.vision.adaptive import Adaptive
from ipcv.vision.ipcv import IPCV
from ipcv.vision.method import VisionMethod
from ipcv.vision.pruning import PruningMethod
from ipcv.vision.selectors import COMPARING

PUBLISHED = "published"
NEIGHBORS = (1, 3, 5, 10, 20)
RULES = {"selector": ("difference", "norm"), "reconstruction": ("mean", "linear")}
"""Those that are worth a trial; the others are controls."""

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


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

    Of two names for the same the one that says more, "published" before all. Run-length
    tokenization, which leaves images as they are, is none.
    """
    result: dict[VisionMethod, Candidate] = {}
    for name in (PUBLISHED, *reversed(VISION_METHODS)):
        vision = VISION_METHODS[name](model, 0.5).vision
        if vision is None or isinstance(vision, RunLength):
            continue
        if _works(model, vision):
            result.setdefault(vision, Candidate(name, partial(_named, model, name)))
    return list(result.values())


def possible_outcomes(model: nn.Module) -> list[Candidate]:
    """Those of `named_candidates` that a server takes, too, where there is one for the model."""
    named, model_type = named_candidates(model), model_type_of(model)
    if model_type not in family_of(model_type).served:
        return named
    return [one for one in named if isinstance(one.at(0.5), PruningMethod)]


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


def of_settings(settings: VisionMethod) -> Candidate:
    """The candidate with these settings, of which one is its `reduction_ratio`."""
    kind, given = type(settings), settings.to_dict()
    shown = (f"{n}={v}" for n, v in given.items() if n not in ("reduction_ratio", "scope"))
    return Candidate(
        f"{kind.__name__} {' '.join(shown)}",
        lambda ratio: kind.from_dict(given | {"reduction_ratio": ratio}),
    )


@dataclasses.dataclass(frozen=True)
class Space:
    """Settings to try in an encoder of `depth` blocks, of these kinds of methods."""

    depth: int
    kinds: tuple[type[VisionMethod], ...] = (IPCV, Adaptive)

    @classmethod
    def of(cls, model: nn.Module) -> Space:
        """For the vision encoder of `model`."""
        return cls(len(adapter_for(model).blocks))

    def draw(self, rng: Random) -> VisionMethod:
        """Random settings."""
        kind = rng.choice(self.kinds)
        return _made(kind, {n: rng.choice(v) for n, v in self._values(kind).items()})

    def vary(self, settings: VisionMethod, rng: Random) -> VisionMethod:
        """The settings with one of them drawn anew."""
        name, values = rng.choice([*self._values(type(settings)).items()])
        return _made(type(settings), settings.to_dict() | {name: rng.choice(values)})

    def _values(self, kind: type[VisionMethod]) -> dict[str, Sequence[Any]]:
        """What each setting of that kind of method may be."""
        values: dict[str, Sequence[Any]] = {
            "prune_layer": range(self.depth),
            "stabilization_layers": range(self.depth),
            "num_neighbors": NEIGHBORS,
            **RULES,
            "smooth_share": SHARES,
        }
        return {name: values[name] for name in inspect.signature(kind).parameters if name in values}


def _made(kind: type[VisionMethod], settings: dict[str, Any]) -> VisionMethod:
    """The method, with the first `prune_layer` that its selector allows where that is later."""
    if settings.get("selector") in COMPARING:
        settings = settings | {"prune_layer": max(1, settings["prune_layer"])}
    return kind.from_dict(settings)
