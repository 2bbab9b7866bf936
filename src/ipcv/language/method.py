"""The base of methods that drop image tokens, and the prefill that they get to see."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from ipcv.core import ops
from ipcv.core.config import Config, require_fraction
from ipcv.language.layout import ImageRun, PromptLayout
from ipcv.vision.adapters.observer import Observed


@dataclass
class Prompt:
    """A prefill at the layer that is about to drop image tokens.

    `B` rows, `L` tokens per row, `R` images, `N` image tokens in all, image after image.

    Attributes:
        layer: index of the layer.
        hidden_states: `(B, L, C)` its input.
        before: `(B, L, C)` the input of the layer before it; `None` for the first layer.
        layout: where the images are, as host integers.
        is_text: `(B, L)` bool, tokens that are neither image nor padding nor part of the answer.
        norm: the norm behind the last layer.
        all_keys: `(B, kv_heads, K, D)` keys of the layer before, those of earlier turns too; only
            for methods with `needs_keys`.
        attend: gives from these the attention `(B, K)` of the last prompt token.
        observed: what the vision encoder did with the visual tokens of this call; only for methods
            with `needs_encoder`.
    """

    layer: int
    hidden_states: Tensor
    before: Tensor | None
    layout: PromptLayout
    is_text: Tensor
    norm: Callable[[Tensor], Tensor]
    all_keys: Tensor | None
    attend: Callable[[Tensor], Tensor]
    observed: Observed | None = None

    @cached_property
    def positions(self) -> Tensor:
        """`(N,)` the image tokens as positions in `B * L`, on the device."""
        return ops.upload(self.layout.image_positions(), self.hidden_states.device)

    @property
    def lengths(self) -> list[int]:
        """Tokens per image."""
        return [run.length for run in self.layout.runs]

    def of_images(self, values: Tensor) -> Tensor:
        """The values `(B, L, ...)` of the image tokens: `(N, ...)`, where the input is."""
        return values.to(self.hidden_states.device).flatten(0, 1)[self.positions]

    @property
    def previous(self) -> Tensor:
        """`(B, L, C)` the input of the layer before. There is none before the first layer."""
        if self.before is None:
            raise RuntimeError("a method that looks at the layer before cannot act at the first")
        return self.before

    @cached_property
    def encoded(self) -> Observed:
        """What the encoder did with each of the `N` tokens, where the input is.

        Only for methods with `needs_encoder`, in the first layer.
        """
        if self.observed is None:
            raise RuntimeError(
                "no image went through the vision encoder in this call, whose attention is needed: "
                "pass the pixels, not the encoder's outputs"
            )
        device = self.hidden_states.device
        index = ops.upload(self.layout.encoder_tokens(len(self.observed.attention)), device)
        attention, keys = (values.to(device)[index] for values in self.observed)
        return Observed(attention, keys)

    @property
    def keys(self) -> Tensor:
        """`(B, kv_heads, L, D)` keys of these tokens in the layer before, after rotary embedding.

        Only for methods with `needs_keys`.
        """
        return self._recorded_keys()[:, :, -self.hidden_states.shape[1] :]

    def attention(self) -> Tensor:
        """`(B, L)` fp32 attention of the last prompt token in the layer before, mean over heads.

        One row, computed from that layer's keys. Only for methods with `needs_keys`.
        """
        return self.attend(self._recorded_keys())[:, -self.hidden_states.shape[1] :]

    def _recorded_keys(self) -> Tensor:
        if self.all_keys is None:
            raise RuntimeError("a method that uses keys or attention must set needs_keys = True")
        return self.all_keys


class LanguageMethod(Config, ABC):
    """Settings of a method, and the one thing it does: score image tokens.

    Subclasses are frozen dataclasses with the fields `prune_layer` and `reduction_ratio` (or an own
    `stages`).

    Attributes:
        needs_keys: whether `scores` looks at `Prompt.keys` or `Prompt.attention`.
        needs_encoder: whether it looks at `Prompt.encoded`.
        first_layer: the lowest `prune_layer`. 0, the encoder's output, is for methods that look at
            nothing of the layer before.
        reference_depth: layers of the language model that layer numbers are scaled from: those of
            LLaVA-1.5 7B, for which the methods were published.
    """

    needs_keys = False
    needs_encoder = False
    first_layer = 1
    reference_depth = 32
    prune_layer: int
    reduction_ratio: float

    @abstractmethod
    def scores(self, prompt: Prompt) -> Tensor:
        """`(N,)` per image token; of each image the `keep_count` highest are kept."""

    def merge(self, prompt: Prompt, scores: Tensor) -> Tensor:
        """The states `(B, L, C)` with which the tokens go on that are kept: here as they are."""
        return prompt.hidden_states

    def keep_count(self, run: ImageRun, layer: int) -> int:
        """How many tokens of an image go on into `layer`, at most `run.length`."""
        return ops.keep_count(run.full_length, self.reduction_ratio)

    @property
    def prune_layers(self) -> tuple[int, ...]:
        """The layers before which tokens are dropped, ascending."""
        return (self.prune_layer,)

    def scaled(self, depth: int) -> LanguageMethod:
        """The same for a decoder of `depth` layers."""
        layer = self._scaled_layer(self.prune_layer, depth)
        return dataclasses.replace(self, prune_layer=layer)  # type: ignore[type-var]

    def _scaled_layer(self, layer: int, depth: int) -> int:
        return max(min(layer, 1), round(layer * depth / self.reference_depth))

    def __post_init__(self) -> None:
        self._require_integer("prune_layer", minimum=self.first_layer)
        require_fraction("reduction_ratio", self.reduction_ratio)
