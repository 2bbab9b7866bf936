"""The base of all settings: frozen, validated, and the same again after JSON."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Collection, Mapping
from typing import Any, Self


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


def require_instance(name: str, value: object, kind: type, examples: str) -> None:
    """Raise `TypeError` unless `value` is of a kind, or `None`."""
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{name} must be a method {examples}, got {type(value).__name__}")


def require_name(name: str, value: object, known: Collection[str]) -> None:
    """Raise `ValueError`, listing what is known, unless `value` is one of these."""
    if not isinstance(value, str) or value not in known:
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
