"""Methods that drop visual tokens at the encoder's output: before layer 0 of the language model."""

from __future__ import annotations

from typing import Self

from ipcv.core.config import require_fraction
from ipcv.language.method import LanguageMethod


class EncoderOutputMethod(LanguageMethod):
    """A method that shortens the language model's input.

    Text and the tokens that are left keep their positions.
    """

    first_layer = 0

    @property
    def prune_layers(self) -> tuple[int, ...]:
        """The first layer."""
        return (0,)

    def scaled(self, depth: int) -> Self:
        """The same: the input has no depth."""
        return self

    def __post_init__(self) -> None:
        require_fraction("reduction_ratio", self.reduction_ratio)
