"""Settings from what was typed."""

from __future__ import annotations

import json
from typing import Any


def parse_pairs(pairs: list[str]) -> dict[str, Any]:
    """`["prune_layer=2", ...]` as settings. Raises `ValueError` where a value is not JSON."""
    settings = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            settings[name] = json.loads(value)
        except json.JSONDecodeError:
            raise ValueError(f"{pair!r} is no setting: write it like prune_layer=2") from None
    return settings
