"""Links that restore a question and settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from ipcv.demo.sliders import Slider

MOST_LETTERS = 500
"""Of a question: more are cut off."""


@dataclass(frozen=True)
class PageState:
    """A question, a method, and the positions of its sliders by name."""

    question: str
    method: str
    positions: Mapping[str, float] = field(default_factory=dict)


def to_query(state: PageState) -> str:
    """The part of an address behind its `?`."""
    named = {"question": state.question, "method": state.method}
    return urlencode(named | {name: f"{at:g}" for name, at in state.positions.items()})


def from_query(
    query: Mapping[str, str], sliders: Mapping[str, Sequence[Slider]], default: PageState
) -> PageState:
    """The inverse of `to_query`; what is missing, unknown or no number is left as it is.

    Args:
        query: names and values of the address.
        sliders: of each method.
        default: what holds where the address says nothing.
    """
    method = query.get("method", default.method)
    if method not in sliders:
        method = default.method
    positions = {one.name: _number(query.get(one.name), one) for one in sliders[method]}
    return PageState(query.get("question", default.question)[:MOST_LETTERS], method, positions)


def _number(text: str | None, slider: Slider) -> float:
    try:
        position = float(text or slider.default)
    except ValueError:
        position = math.nan
    return slider.position(slider.read(position if math.isfinite(position) else slider.default))
