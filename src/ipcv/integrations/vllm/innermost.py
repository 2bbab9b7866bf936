"""The innermost attention of vLLM's vision encoders: others in its place, for rows of our own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ipcv.core.arguments import Arguments
from ipcv.vision.adapters.segments import Segments


def run_with(attention: Any, states: Tensor, others: Arguments, innermost: Any) -> Any:
    """What an attention returns with something else in the place of its innermost part."""
    with replaced(attention, innermost):
        return type(attention).forward(attention, states, **others)


@contextmanager
def replaced(attention: Any, innermost: Any) -> Iterator[None]:
    """Something else is in the place of an attention's innermost part."""
    attention.attn.forward = innermost
    try:
        yield
    finally:
        del attention.attn.forward


def sdpa(
    scale: float, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> tuple[Tensor, None]:
    """`(B, heads, rows, D)`, with fewer query rows than others, to `(B, rows, heads, D)`."""
    output = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    return output.transpose(1, 2), None


def flash(
    innermost: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    queries: Segments,
    keys: Segments,
    max_seqlen: int,
) -> Tensor:
    """Flash attention of `(rows, heads, D)` within segments, of `max_seqlen` rows at most."""
    output: Tensor = flash_attention()(
        query,
        key,
        value,
        cu_seqlens_q=queries.cu_seqlens,
        cu_seqlens_k=keys.cu_seqlens,
        max_seqlen_q=max_seqlen,
        max_seqlen_k=max_seqlen,
        softmax_scale=innermost.scale,
        fa_version=innermost._fa_version,
    )
    return output


def flash_attention() -> Any:
    """VLLM's flash attention for segments of different lengths; not there on a CPU."""
    from vllm.v1.attention.backends.fa_utils import flash_attn_varlen_func

    return flash_attn_varlen_func
