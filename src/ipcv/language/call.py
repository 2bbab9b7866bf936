"""The state of one call of a multimodal model."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ipcv.core.arguments import Arguments
from ipcv.core.memo import Memo
from ipcv.language.cache import KeyRecorder
from ipcv.language.layout import PromptLayout
from ipcv.language.tokens import restore_tokens


@dataclass
class ModelCall(Memo):
    """State of one forward of the multimodal model.

    Attributes:
        length: tokens per row that it was called with.
        kinds: `(B, length)` the kind of each token, as for `PromptLayout.of`; `None`: no images.
        layout: the images among the tokens that the layer now running carries.
        columns: `(B, L)` the columns of those tokens, -1 for none; `None` before pruning.
        full: `(B, length, C)` every token's state, the dropped ones' where they were dropped.
        previous: the arguments of the layer before a pruning one.
        recorder: holds that layer's keys.
        past: tokens in the cache before this call.
        stages: per layer that changed them, the layout and columns of the tokens carried; the
            whole prompt's under -1.
        is_cached: whether keys and values are kept.
    """

    length: int
    kinds: Tensor | None = None
    layout: PromptLayout | None = None
    columns: Tensor | None = None
    full: Tensor | None = None
    previous: Arguments = field(default_factory=dict)
    recorder: KeyRecorder | None = None
    past: int = 0
    stages: dict[int, tuple[PromptLayout, Tensor | None]] = field(default_factory=dict)
    is_cached: bool = False

    def restored(self, hidden_states: Tensor) -> Tensor:
        """`(B, length, C)`: the tokens carried, and the others as they were when dropped."""
        if self.columns is None or self.full is None:
            return hidden_states
        return restore_tokens(hidden_states, self.columns, self.full)
