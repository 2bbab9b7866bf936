"""Results that several layers of one call share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass
class Memo:
    """Remembers results by a name and the identity of what they were computed from."""

    _results: dict[tuple[object, ...], tuple[object, Any]] = field(
        default_factory=dict, init=False, repr=False
    )

    def once(self, name: str, *sources: object, compute: Callable[[], T]) -> T:
        """`compute()`, or what it was the last time. Sources that are integers count by value."""
        key = (name, *(x if isinstance(x, int) else id(x) for x in sources))
        if key not in self._results:
            self._results[key] = (sources, compute())  # holding the sources keeps their ids theirs
        result: T = self._results[key][1]
        return result

    def forget(self) -> None:
        """Forget all results."""
        self._results.clear()
