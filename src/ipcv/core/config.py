"""What to do to a model: frozen, validated settings that round-trip through JSON."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Collection, Mapping
from typing import Any, Literal, Self, get_args

from ipcv.vision.reconstruction import RECONSTRUCTORS
from ipcv.vision.selectors import COMPARING, SELECTORS

Scope = Literal["item", "batch"]
NeighborScope = Literal["item", "frames"]


class Config:
    """Mapping round trip shared by all settings dataclasses."""

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain JSON types."""
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`. Raises `ValueError` on a key that is not a setting."""
        known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        if unknown := sorted(set(settings) - set(known)):
            raise ValueError(
                f"{cls.__name__} has no setting {', '.join(unknown)}; it has {', '.join(known)}"
            )
        return cls(**settings)

    def _require_integer(self, name: str, minimum: int) -> None:
        value = require_integer(name, getattr(self, name), minimum)
        object.__setattr__(self, name, value)  # what counts as an integer becomes one


@dataclasses.dataclass(frozen=True)
class IPCV(Config):
    """Information-Preserving Compression inside the vision encoder (arXiv 2512.18747, section 3).

    Attributes:
        prune_layer: 0-based index `p` of the first block that runs on kept patches only. At least
            1 where the selector ranks patches by how much block `p - 1` changed them, as the
            published one does.
        reduction_ratio: fraction of the patches of each item that is removed, in [0, 1). Each item
            keeps `max(1, int(patches * (1 - reduction_ratio)))`.
        stabilization_layers: number `A` of blocks, from `prune_layer` on, in which the removed
            patches still serve as keys and values (Attention Stabilization). Values beyond the
            encoder's depth mean "all the rest".
        num_neighbors: number `k` of kept patches that rebuild a removed one (Neighbor-Guided
            Reconstruction). Where fewer are kept, all of them are used.
        scope: what patches compete and rebuild each other in. "item": one image or one video, so
            that no answer depends on what else is in the batch. "batch": everything in one encoder
            call, as in the published code; only for reproducing published numbers.
        selector: name of the rule for what is kept, in `ipcv.vision.selectors`; "difference" is the
            published one.
        reconstruction: name of the rule for what rebuilds a removed patch, in
            `ipcv.vision.reconstruction`; "mean" is the published one.
        neighbor_scope: where a removed patch of a video looks for neighbours. "item": in all of
            it, as published, in time quadratic in its length. "frames": among as many kept patches
            as three frames have on average, those around its own frame. Only encoders with packed
            rows (the Qwen family) tell frames apart; videos of up to three are searched whole.

    Raises:
        ValueError: a setting is out of range or of the wrong type.
    """

    prune_layer: int = 3
    reduction_ratio: float = 0.65
    stabilization_layers: int = 7
    num_neighbors: int = 10
    scope: Scope = "item"
    selector: str = "difference"
    reconstruction: str = "mean"
    neighbor_scope: NeighborScope = "frames"

    def __post_init__(self) -> None:
        require_name("selector", self.selector, SELECTORS)
        self._require_integer("prune_layer", minimum=int(self.selector in COMPARING))
        require_fraction("reduction_ratio", self.reduction_ratio)
        self._require_integer("stabilization_layers", minimum=0)
        self._require_integer("num_neighbors", minimum=1)
        require_name("scope", self.scope, get_args(Scope))
        require_name("neighbor_scope", self.neighbor_scope, get_args(NeighborScope))
        require_name("reconstruction", self.reconstruction, RECONSTRUCTORS)


def require_name(name: str, value: object, known: Collection[str]) -> None:
    """Raise `ValueError`, listing what is known, unless `value` is one of these."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def require_integer(name: str, value: Any, minimum: int) -> int:
    """The integer. Raises `ValueError` unless it is one (a bool is none) of at least `minimum`."""
    is_integer = hasattr(value, "__index__") and not isinstance(value, bool)
    if not is_integer or operator.index(value) < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}, got {value!r}")
    return operator.index(value)


def require_fraction(name: str, value: object, one: bool = False) -> None:
    """Raise `ValueError` unless `value` is a number in [0, 1), or with `one` in [0, 1]."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not (0 <= value < 1 or (one and value == 1)):  # type: ignore[operator]
        raise ValueError(f"{name} must be a number in [0, 1{']' if one else ')'}, got {value!r}")
