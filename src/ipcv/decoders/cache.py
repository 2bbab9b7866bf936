"""Cache layers that hold only some of the tokens seen, and know which."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer


class PrunedLayer(DynamicLayer):  # type: ignore[misc]
    """The cache of a layer behind the pruning.

    Towards `transformers` it counts all tokens seen (`get_seq_length`, `get_mask_sizes`), so that
    positions and masks are made as for the unpruned layers; the engine then picks from the masks
    the columns that are held. Follows beam search, cropping and copies like any other layer.

    Attributes:
        columns: `(B, K)` int64, for each key held the token's index among all tokens seen; -1
            where a row holds none. `None` before the first key.
        length: tokens seen.
        ragged: whether some of `columns` may be -1.
        tail: tokens at the end that every row still has, and that `crop` may hence remove.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.columns: Tensor | None = None
        self.length = self.tail = 0
        self.ragged = False
        self._pending: Tensor | None = None

    def adopt(self, layer: DynamicLayer, batch_size: int) -> None:
        """Take over the keys and values of a layer that has not been pruned yet."""
        vars(self).update(vars(layer))
        self.length = self.tail = layer.get_seq_length()
        if self.length:
            held = layer.keys.shape[-2]
            first = self.length - held
            columns = torch.arange(first, self.length, device=layer.keys.device)
            self.columns = columns.expand(batch_size, held)

    def announce(self, new: Tensor, num_tokens: int, ragged: bool, tail: int) -> Tensor:
        """Prepare the next `update`, and say which columns the keys that it returns stand for.

        Args:
            new: `(B, Q)` columns of the keys to come, -1 for none.
            num_tokens: tokens that they were picked from.
            ragged: whether some of `new` are -1.
            tail: as the attribute, after the update.

        Returns:
            `(B, K)`.
        """
        columns = new if self.columns is None else torch.cat([self.columns.to(new.device), new], 1)
        self._pending = columns
        self.length += num_tokens
        self.ragged |= ragged
        self.tail = tail
        return columns

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """As in the base class. Raises `RuntimeError` where the engine is not there any more."""
        if self._pending is None:
            raise RuntimeError(
                "this cache belongs to a model whose prompt was pruned by ipcv, and only the "
                "compressed model can continue it: do so before handle.remove()"
            )
        keys, values = super().update(key_states, value_states, *args, **kwargs)
        self.columns, self._pending = self._pending[:, -self.keys.shape[-2] :], None
        return keys, values

    def get_seq_length(self) -> int:
        """All tokens seen, held or not."""
        return self.length

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last tokens. Raises `RuntimeError` if those would be pruned ones."""
        if -tokens_to_remove > self.tail:
            raise RuntimeError(
                f"cannot crop {-tokens_to_remove} tokens: only the last {self.tail} come after the "
                "pruned images; start from a new cache"
            )
        super().crop(tokens_to_remove)
        self.length += min(tokens_to_remove, 0)
        self.tail += min(tokens_to_remove, 0)
        if self.columns is not None and self.keys is not None:
            stop = self.columns.shape[1] + min(tokens_to_remove, 0)
            self.columns = self.columns[:, :stop][:, stop - self.keys.shape[-2] :]

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        PrunedLayer.__init__(self)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Pick rows, in beam search."""
        super().reorder_cache(beam_idx)
        self._rows(lambda x: x.index_select(0, beam_idx.to(x.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat rows."""
        super().batch_repeat_interleave(repeats)
        self._rows(lambda x: x.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Pick rows."""
        super().batch_select_indices(indices)
        self._rows(lambda x: x[indices.to(x.device)])

    def _rows(self, pick: Any) -> None:
        if self.columns is not None:
            self.columns = pick(self.columns)
