"""The base of adapters for vLLM's vision encoders, and how rows attend there."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from vllm.platforms import current_platform
from vllm.v1.attention.backends.registry import AttentionBackendEnum

from ipcv.core.arguments import Arguments
from ipcv.core.hooks import states_of, with_states
from ipcv.integrations.vllm.innermost import flash, run_with, sdpa
from ipcv.integrations.vllm.settings import Attention
from ipcv.vision.adapters.base import EncoderAdapter
from ipcv.vision.adapters.segments import Segments, attend_in_batches, biased
from ipcv.vision.selection import Selection


def _as_it_is(heads: Tensor) -> Tensor:
    """All heads, where one rank has them."""
    return heads


class Tower(EncoderAdapter):
    """What all vision encoders of vLLM share.

    Their attention modules hold an innermost one, without weights, that knows about backends. The
    attention around it, with projections, norms and rotary positions, whole or sharded, quantized
    or not, runs as it is: on all rows as far as the innermost part, of which kept rows alone are
    asked for, and on those behind it.
    """

    def __init__(self, encoder: nn.Module, attention: Attention = "auto") -> None:
        super().__init__(encoder)
        attention_module: Any = self.attention(self.blocks[0])
        self.backend: AttentionBackendEnum = attention_module.attn.attn_backend
        if self.backend == AttentionBackendEnum.FLASHINFER:  # chosen by the engine: see checks.py
            raise ValueError("ipcv cannot be combined with FLASHINFER: set mm_encoder_attn_backend")
        if attention == "flash" and self.backend != AttentionBackendEnum.FLASH_ATTN:
            raise ValueError(
                f"ipcv attention flash needs a vision encoder that attends with FLASH_ATTN, "
                f"not {self.backend.name}"
            )
        self.asking = _fitting(self.backend) if attention == "auto" else attention
        for block in self.blocks:
            _let_hooks_run(block)

    def full_length_outputs(self, arguments: Arguments) -> set[int]:
        """None, unless a kind of encoder says otherwise."""
        return set()

    @property
    def breaks(self) -> set[int]:
        """Blocks that the encoder does not simply run on what the one before left."""
        return {index + 1 for index in self.full_length_outputs({})}

    attends_kept = False  # where kept rows attend each other the engine's own attention serves
    goes_on_with_kept = True
    """Whether the attention takes fewer rows back from its innermost part than it gave."""

    def attend(
        self,
        attention: Any,
        queries: Tensor,
        keys: Tensor | None,
        arguments: Arguments,
        selection: Selection,
    ) -> Any:
        """Kept rows attend all rows, or, counting by their sizes, each other."""
        if keys is None:
            _, left = self.segments(arguments.get("cu_seqlens"), selection)
            own = left, selection.bias, self.places(selection)
            ask = partial(self.count, attention.attn, *own)
            pruned = self.prune_arguments(arguments, selection)
            return run_with(attention, queries, self.others(pruned), ask)
        others = self.others(arguments)
        if self.asking == "full":
            output = type(attention).forward(attention, keys, **others)
        else:
            ask = partial(self._ask, attention.attn, selection)
            output = run_with(attention, keys, others, ask)
            if self.goes_on_with_kept:
                return output
        states = states_of(output)  # of all rows
        kept = self.rows(states)[selection.kept]
        return with_states(output, self.pack(kept, states, selection))

    def others(self, arguments: Arguments) -> Arguments:
        """What a block's attention takes beside hidden states, from what the block takes."""
        return {name: x for name, x in arguments.items() if name != self.states_name}

    def keys(self, attention: Any, normed: Tensor) -> Tensor:
        """As the innermost attention gets them, without rotary positions; of all ranks' heads."""
        found, innermost = list[Tensor](), attention.attn

        def catch(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
            found.append(key.reshape(-1, innermost.num_heads, innermost.head_size))
            return torch.zeros_like(query)

        run_with(attention, *self.unplaced(attention, normed), catch)
        return self.gather_heads(found[0])

    @abstractmethod
    def unplaced(self, attention: Any, normed: Tensor) -> tuple[Tensor, Arguments]:
        """What the attention takes for rows `(T, C)` that have no positions."""

    gather_heads: Callable[[Tensor], Tensor] = staticmethod(_as_it_is)
    """`(T, heads, D)` of all ranks, where the heads are sharded."""

    def count(
        self,
        innermost: Any,
        kept: Segments,
        bias: Tensor | None,
        places: Tensor | None,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        cu_seqlens: Tensor | None = None,
        max_seqlen: Tensor | None = None,
        sequence_lengths: Tensor | None = None,
    ) -> Tensor:
        """In the place of the innermost attention: kept rows, which count by their sizes.

        `bias` and `places` are a selection's, what follows is the innermost attention's.
        """
        shape, heads = query.shape, (-1, innermost.num_heads, innermost.head_size)
        query, key, value = (x.reshape(heads) for x in (query, key, value))
        carried = query
        if places is not None:
            query, key, value = (x[places] for x in (query, key, value))
        output = self._attended(innermost, query, key, value, kept, kept, max_seqlen, bias)
        if places is not None:
            output = torch.zeros_like(carried).index_copy_(0, places, output)
        return output.reshape(shape)

    def places(self, selection: Selection) -> Tensor | None:
        """Where kept rows are among those carried; `None` if these are all."""
        return None

    @abstractmethod
    def segments(
        self, cu_seqlens: Tensor | None, selection: Selection
    ) -> tuple[Segments, Segments]:
        """Those of all rows, and what is left of each, from what the attention is told."""

    def _ask(
        self,
        innermost: Any,
        selection: Selection,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        cu_seqlens: Tensor | None = None,
        max_seqlen: Tensor | None = None,
        sequence_lengths: Tensor | None = None,
    ) -> Tensor:
        """In the place of the innermost attention: takes all rows and returns the kept ones."""
        shape, heads = query.shape, (-1, innermost.num_heads, innermost.head_size)
        query = query.reshape(heads)[selection.kept]
        key, value = key.reshape(heads), value.reshape(heads)
        everything, kept = self.segments(cu_seqlens, selection)
        output = self._attended(innermost, query, key, value, kept, everything, max_seqlen)
        return self.carried(output, shape, selection)

    def carried(self, attended: Tensor, shape: torch.Size, selection: Selection) -> Tensor:
        """Kept rows `(K, heads, D)` as the attention takes them where all had that shape."""
        return attended.reshape(shape[0], -1, *shape[2:])

    def _attended(
        self,
        innermost: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        queries: Segments,
        keys: Segments,
        max_seqlen: Tensor | None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Attention of `(rows, heads, D)` within segments, by flash attention or by torch's."""
        if self.asking != "flash":
            attend = partial(sdpa, innermost.scale)
            return attend_in_batches(attend, query, key, value, queries, keys, bias)
        longest = keys.width if max_seqlen is None else int(max_seqlen)  # known to the host
        if bias is not None:
            query, key, value = biased(query, key, value, bias, innermost.scale)
        output = flash(innermost, query, key, value, queries, keys, longest)
        return output[..., : innermost.head_size]


def _fitting(backend: AttentionBackendEnum) -> Attention:
    """How kept rows can ask all rows where the encoder attends with that backend."""
    if backend == AttentionBackendEnum.TORCH_SDPA:
        return "sdpa"
    if backend == AttentionBackendEnum.FLASH_ATTN and current_platform.is_cuda():
        return "flash"
    return "full"


def _let_hooks_run(block: nn.Module) -> None:
    """Give a block that vLLM may compile, and that then skips hooks, the plain call back."""
    cls = type(block)
    if cls.__call__ is not nn.Module.__call__:
        block.__class__ = type(cls.__name__, (cls,), {"__call__": nn.Module.__call__})
