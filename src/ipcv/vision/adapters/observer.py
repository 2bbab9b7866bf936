"""An observer of what a vision encoder attends to, for methods that rank visual tokens by it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ipcv.core.arguments import Arguments, bind, on_device
from ipcv.core.hooks import Hooked
from ipcv.vision.adapters.attention import attention_of_first, attention_received
from ipcv.vision.adapters.base import EncoderAdapter, TokenAdapter, scaling
from ipcv.vision.adapters.batched import BatchedEncoder
from ipcv.vision.layout import Layout


class Observed(NamedTuple):
    """What a block of the vision encoder did, per visual token handed to the language model.

    Attributes:
        attention: `(N,)` fp32 attention that the token's patches received: their mean.
        keys: `(N, D)` fp32 keys of its patches: their mean, and over heads.
    """

    attention: Tensor
    keys: Tensor


class Observer(Hooked[Any]):
    """Watches the second-to-last block of an encoder while a multimodal model runs.

    It computes the block's queries and keys again, at every call, so that the encoder costs the
    same wherever it is measured. In a compressed encoder they are those of all patches, the removed
    ones rebuilt.

    Args:
        adapter: the vision encoder; the same object that compresses it, where something does.
        owners: methods of the models around it, during which what is observed is remembered.
        patches_per_token: how many patches, which form a square, make up a visual token.

    Raises:
        ValueError: the encoder has only one block.
    """

    def __init__(
        self,
        adapter: EncoderAdapter,
        owners: Sequence[tuple[nn.Module, str]],
        patches_per_token: int,
    ) -> None:
        super().__init__()
        if not isinstance(adapter, TokenAdapter):
            name = type(adapter.encoder).__name__
            raise ValueError(f"what a {name} attends to is not known: its heads are not at hand")
        self.adapter, self._owners = adapter, owners
        self._patches_per_token = patches_per_token
        self._index = len(adapter.blocks) - 2
        if self._index < 0:
            raise ValueError("the encoder has no second-to-last block whose attention could count")

    @property
    def target(self) -> nn.Module:
        """The encoder."""
        return self.adapter.encoder

    def attach(self) -> None:
        """Install the hooks: after those of an engine that compresses the encoder."""
        block = self.adapter.blocks[self._index]
        self.adapter.taps.add(self._index - 1)
        for module, name in self._owners:
            self._hooks.surround(module, name, self._remembering)
        self._hooks.surround(self.adapter.encoder, "forward", self._opened)
        self._signature = inspect.signature(block.forward)
        # Ahead of the engine's, which prunes what the block is called with.
        self._hooks.before(block, self._observe, prepend=True)

    @property
    def observed(self) -> Observed | None:
        """Of all encoder calls of the model's call that now runs; `None` if there was none."""
        records = self._records
        return Observed(*map(torch.cat, zip(*records, strict=True))) if records else None

    @property
    def _records(self) -> list[Observed] | None:
        return getattr(self._local, "records", None)

    @contextmanager
    def _remembering(self, arguments: Arguments) -> Iterator[None]:
        """`generate` runs the encoder before it runs `forward`, which then finds the record."""
        before = self._records
        self._local.records = [] if before is None else before
        try:
            yield
        finally:
            self._local.records = before

    @contextmanager
    def _opened(self, arguments: Arguments) -> Iterator[None]:
        with self._running(self.adapter.open(arguments, ())):
            yield

    @torch.no_grad()
    def _observe(self, block: nn.Module, args: Any, kwargs: Arguments) -> None:
        context = self._call
        if context is None:
            return
        arguments = bind(self._signature, args, kwargs)
        device = next(block.parameters()).device
        if device.type != "meta":  # the parts of an offloaded block move what they get
            arguments = on_device(arguments, device)
        hidden_states = arguments["hidden_states"]
        layout = self.adapter.layout(context, hidden_states)
        attention = self.adapter.attention(block)
        rows = self.adapter.rows(self.adapter.norm(block)(hidden_states))
        everything = torch.arange(len(rows), device=rows.device)
        query, key, _, content = self.adapter.heads(attention, rows, arguments, everything)
        segments = self.adapter.segment_lengths(hidden_states, arguments)
        if layout.protected:
            received = attention_of_first(query, key, segments[0], scaling(attention))
        else:
            received = attention_received(query, key, segments, scaling(attention))
        patches = torch.cat([received[:, None], content.float().mean(dim=1)], dim=1)
        if layout.order is not None:
            patches = torch.empty_like(patches).index_copy(0, layout.order(), patches)
        tokens = self._tokens(patches, layout)
        if self._records is not None:
            self._records.append(Observed(tokens[:, 0], tokens[:, 1:]))

    def _tokens(self, patches: Tensor, layout: Layout) -> Tensor:
        """Rows `(N, D)` of all patches, CLS among them, as means per visual token."""
        if not isinstance(self.adapter, BatchedEncoder):
            return patches.view(-1, self._patches_per_token, patches.shape[1]).mean(dim=1)
        tiles = patches.view(len(layout.group_lengths), -1, patches.shape[1])
        tiles = tiles[:, layout.protected :]
        grid, side = isqrt(tiles.shape[1]), isqrt(self._patches_per_token)
        squares = tiles.reshape(len(tiles), grid // side, side, grid // side, side, -1)
        return squares.mean(dim=(2, 4)).flatten(0, 2)
