"""Cache layers that hold only some of the tokens seen, and know which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer

SUPPORTED_LAYERS: tuple[type, ...] = (DynamicLayer, DynamicSlidingWindowLayer)


@dataclass(frozen=True)
class Held:
    """Which tokens the keys of a cache layer stand for, in order.

    Attributes:
        picked: `(B, K)` int64 indices of tokens seen, -1 where a row holds none; `None` for none.
        recent: how many of the last tokens seen follow, one by one and the same in every row.
        is_ragged: whether some of `picked` may be -1.
    """

    picked: Tensor | None = None
    recent: int = 0
    is_ragged: bool = False

    def columns(self, length: int, batch_size: int, device: torch.device) -> Tensor:
        """`(B, K)` indices of the tokens, when `length` tokens have been seen in all."""
        recent = torch.arange(length - self.recent, length, device=device).expand(batch_size, -1)
        if self.picked is None:
            return recent
        return torch.cat([self.picked.to(device), recent], dim=1)


class PrunedLayer(DynamicLayer):  # type: ignore[misc]
    """The cache of a layer behind the pruning.

    Towards `transformers` it counts all tokens seen, so that positions and masks are made as for
    the other layers; the engine then picks from the masks the columns that are held. Follows beam
    search, cropping and copies like any other layer.

    Attributes:
        held: what the keys stand for.
        length: tokens seen.
        sliding_window: how many of the latest tokens can be attended, if not all.
        record_past: whether tokens beyond the window are held until the next `crop`.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, sliding_window: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sliding_window = sliding_window
        self.is_sliding = sliding_window is not None
        self.record_past = False
        self.held, self.length = Held(), 0
        self._expected: tuple[Held, int] | None = None

    @classmethod
    def adopt(cls, layer: DynamicLayer) -> PrunedLayer:
        """Take over the keys and values of a layer that has not been pruned yet."""
        pruned = cls(getattr(layer, "sliding_window", None))
        pruned.length = layer.get_seq_length()
        pruned.record_past = getattr(layer, "record_past", False)
        pruned.is_initialized = layer.is_initialized
        if layer.is_initialized:
            pruned.dtype, pruned.device = layer.dtype, layer.device
            pruned.keys, pruned.values = layer.keys, layer.values
            pruned.held = Held(recent=layer.keys.shape[-2] if layer.keys.numel() else 0)
        return pruned

    def expect(self, held: Held, length: int) -> None:
        """Say what the keys stand for after the next `update`, when `length` have been seen."""
        self._expected = held, length

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """As in the base class. Raises `RuntimeError` where the engine is not there any more."""
        if self._expected is None:
            raise RuntimeError(
                "this cache belongs to a model whose prompt was pruned by ipcv, and only the "
                "compressed model can continue it: do so before handle.remove()"
            )
        keys, values = super().update(key_states, value_states, *args, **kwargs)
        (self.held, self.length), self._expected = self._expected, None
        if not self.record_past:
            self._forget()
        return keys, values

    def _forget(self) -> None:
        """Drop what has left the window: a row holds at most a window of the latest tokens."""
        if self.sliding_window is None or not self.is_initialized:
            return
        excess = self.keys.shape[-2] - self.sliding_window + 1
        if excess <= 0:
            return
        self.keys, self.values = self.keys[..., excess:, :], self.values[..., excess:, :]
        picked, recent = self.held.picked, self.held.recent
        if picked is not None and excess < picked.shape[1]:
            self.held = Held(picked[:, excess:], recent, self.held.is_ragged)
        else:
            self.held = Held(recent=min(recent, self.sliding_window - 1))

    def activate_past_recording(self) -> None:
        """As in the sliding-window layers: let `crop` do the forgetting."""
        self.record_past = self.is_sliding

    def get_seq_length(self) -> int:
        """All tokens seen, held or not."""
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """As of a layer that was not pruned."""
        offset = 0 if self.sliding_window is None else max(self.length - self.sliding_window + 1, 0)
        return self.length - offset + query_length, offset

    def get_max_length(self) -> int:
        """-1 without a window, as in the base class."""
        return -1 if self.sliding_window is None else self.sliding_window

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last tokens. Raises `RuntimeError` if an image's would be among them."""
        count = -min(tokens_to_remove, 0)
        if self.is_sliding and not self.record_past and self.length >= (self.sliding_window or 0):
            raise RuntimeError("call activate_past_recording on the cache before cropping it")
        if count > self.held.recent:
            raise RuntimeError(
                f"cannot crop {count} tokens: only the last {self.held.recent} come after the "
                "pruned images; start from a new cache"
            )
        super().crop(tokens_to_remove)
        self.length -= count
        self.held = Held(self.held.picked, self.held.recent - count, self.held.is_ragged)
        self._forget()

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.held, self.length, self._expected = Held(), 0, None

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Pick rows, in beam search."""
        super().reorder_cache(beam_idx)
        self._pick_rows(lambda x: x.index_select(0, beam_idx.to(x.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat rows."""
        super().batch_repeat_interleave(repeats)
        self._pick_rows(lambda x: x.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Pick rows."""
        super().batch_select_indices(indices)
        self._pick_rows(lambda x: x[indices.to(x.device)])

    def _pick_rows(self, pick: Callable[[Tensor], Tensor]) -> None:
        if self.held.picked is not None:
            self.held = Held(pick(self.held.picked), self.held.recent, self.held.is_ragged)


class KeyRecorder:
    """Stands in for the cache (or for none) during one layer, and remembers the keys attended.

    Attributes:
        keys: `(B, kv_heads, K, D)` after rotary embedding, once the layer has run.
    """

    def __init__(self, cache: Cache | None) -> None:
        self._cache = cache
        self.keys: Tensor | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """What the cache returns."""
        if self._cache is not None:
            key_states, value_states = self._cache.update(key_states, value_states, *args, **kwargs)
        self.keys = key_states
        return key_states, value_states


def is_pruned(cache: Cache | None, index: int) -> bool:
    """Whether a layer of the cache holds only some of the tokens seen."""
    return (
        cache is not None
        and index < len(cache.layers)
        and isinstance(cache.layers[index], PrunedLayer)
    )


def pruned_layer(cache: Cache, index: int) -> PrunedLayer:
    """Layer `index` of the cache, made a pruned one if it is not yet."""
    while len(cache.layers) <= index:  # layers are created as they are first used
        cache.layers.append(cache.layer_class_to_replicate())
    layer = cache.layers[index]
    if not isinstance(layer, PrunedLayer):
        cache.layers[index] = layer = PrunedLayer.adopt(layer)
    return layer
