"""The record of one prefill of the language model, kept on the device until read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ipcv.language.layout import PromptLayout


@dataclass(frozen=True)
class Prefill:
    """One forward of the language model with images in it; padding is not counted.

    Attributes:
        prompt: all its tokens.
        layouts: per layer, the tokens that it carries.
        columns: per layer, `(B, L)` the columns of the prompt that it carries, -1 for none, on the
            device; `None` for all.
        windows: per layer, how many of the latest tokens it attends, `None` for all.
        token_bytes: of the keys and values of one token in one layer; 0 without a cache.
    """

    prompt: PromptLayout
    layouts: tuple[PromptLayout, ...]
    columns: tuple[Tensor | None, ...]
    windows: tuple[int | None, ...]
    token_bytes: int

    @cached_property
    def tokens_per_layer(self) -> tuple[int, ...]:
        """Tokens of all rows that each layer carries."""
        return tuple(sum(layout.real) for layout in self.layouts)

    @cached_property
    def image_tokens_per_layer(self) -> tuple[int, ...]:
        """Those of them that belong to images and videos."""
        return tuple(sum(run.length for run in layout.runs) for layout in self.layouts)

    @cached_property
    def kv_bytes(self) -> int:
        """Keys and values that this prefill added to the cache."""
        return self._kv_bytes(self.layouts)

    @cached_property
    def kv_bytes_saved(self) -> int:
        """How much more it would have been with all tokens."""
        return self._kv_bytes((self.prompt,) * len(self.layouts)) - self.kv_bytes

    def _kv_bytes(self, layouts: tuple[PromptLayout, ...]) -> int:
        columns = 0
        for layout, window in zip(layouts, self.windows, strict=True):
            held = layout.width if window is None else min(layout.width, window - 1)
            columns += len(layout.real) * held
        return columns * self.token_bytes

    @cached_property
    def kept_indices(self) -> list[Tensor]:
        """Per image the tokens that the last layer carries, numbered from the image's first.

        Int64 `(kept,)` on the CPU, row by row. Reading it waits for the device.
        """
        runs, columns = self.prompt.runs, self.columns[-1]
        if columns is None:
            return [torch.arange(run.length) for run in runs]
        indices = [(columns[run.row].cpu() - run.start, run.length) for run in runs]
        return [index[(index >= 0) & (index < length)] for index, length in indices]
