"""Sliders for the settings of a method, made of the fields of its class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import get_args, get_type_hints

from ipcv.settings.methods import VISION
from ipcv.vision.method import VisionMethod


@dataclass(frozen=True)
class Slider:
    """The numbers that a setting can be.

    Attributes:
        name: of the setting.
        lowest, highest, step: its range.
        default: where it stands at first.
        is_optional: whether the highest stands for `None`, no limit.
    """

    name: str
    lowest: float
    highest: float
    step: float
    default: float
    is_optional: bool = False

    @property
    def label(self) -> str:
        """The name in words."""
        words = self.name.replace("_", " ")
        return f"{words} ({self.highest:g}: none)" if self.is_optional else words

    def read(self, position: float) -> float | None:
        """The setting that a position stands for, moved into the range."""
        inside = min(max(position, self.lowest), self.highest)
        if self.is_optional and inside == self.highest:
            return None
        return round(inside) if isinstance(self.step, int) else round(inside, 6)

    def position(self, setting: float | None) -> float:
        """The inverse of `read`."""
        return self.highest if setting is None else setting


def sliders(method: VisionMethod, depth: int) -> list[Slider]:
    """One for each setting that is a number, standing where the method has it.

    Args:
        method: of the vision side.
        depth: blocks of the encoder; counts go up to that, or to twice what they are.
    """
    settings, found = method.to_dict(), []
    for name, hint in get_type_hints(type(method)).items():
        kinds = set(get_args(hint)) or {hint}
        if name not in settings or not kinds & {int, float}:
            continue
        is_optional = NoneType in kinds
        step = 0.01 if float in kinds else 1
        default = settings[name]
        ends = (0, step, 1 - step, 1) if float in kinds else (0, 1, max(depth, 2 * default))
        taken = [end for end in ends if _takes(method, name, end)]
        at = taken[-1] if default is None else default
        found.append(Slider(name, taken[0], taken[-1], step, at, is_optional))
    return found


def methods_of(defaults: Mapping[str, VisionMethod], depth: int) -> dict[str, list[Slider]]:
    """The sliders of each method of `VISION`, at these defaults or those of its class."""
    return {name: sliders(defaults.get(name) or kind(), depth) for name, kind in VISION.items()}


def _takes(method: VisionMethod, name: str, value: float) -> bool:
    try:
        type(method).from_dict(method.to_dict() | {name: value})
    except ValueError:
        return False
    return True
