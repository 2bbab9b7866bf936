"""Attention in segments, in every way there is, against a loop over rows."""

from functools import partial
from itertools import accumulate

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.models.qwen2_vl.modeling_qwen2_vl import eager_attention_forward

from ipcv.vision.adapters.segments import Segments, attend_in_turns, attend_padded, biased

HEADS, SIZE, SCALE = 2, 4, 0.7
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
FUNCTIONS = {"sdpa": sdpa_attention_forward, "eager": eager_attention_forward}

ways = pytest.mark.parametrize("way", [attend_padded, attend_in_turns])
functions = pytest.mark.parametrize("function", FUNCTIONS)
dtypes = pytest.mark.parametrize("dtype", TOLERANCE)


@st.composite
def segment_lengths(draw):
    """Keys per segment, and at most as many queries, perhaps none; not all of them."""
    keys = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    queries = [draw(st.integers(0, length)) for length in keys]
    return queries if any(queries) else keys, keys


def segments(lengths):
    return Segments(torch.tensor([0, *accumulate(lengths)], dtype=torch.int32))


def states(lengths, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(sum(lengths), HEADS, SIZE, generator=generator).to(dtype)


def attend(function):
    module = nn.Module().eval()
    module.num_key_value_groups = 1
    return partial(FUNCTIONS[function], module, scaling=SCALE, is_causal=False)


def by_rows(query, key, value, query_lengths, key_lengths):
    """In fp64, one query and head at a time."""
    output, first, start = [], 0, 0
    for queries, keys in zip(query_lengths, key_lengths, strict=True):
        for row in query[first : first + queries].double():
            for head in range(HEADS):
                own = (slice(start, start + keys), head)
                weights = (key[own].double() @ row[head] * SCALE).softmax(0)
                output.append(weights @ value[own].double())
        first, start = first + queries, start + keys
    return torch.stack(output).view(-1, HEADS, SIZE)


@ways
@functions
@dtypes
@settings(deadline=None, max_examples=25)
@given(segment_lengths(), st.integers(0, 1000))
def test_equals_a_loop_over_rows(way, function, dtype, lengths, seed):
    queries, keys = lengths
    query, key, value = (states(n, dtype, seed + i) for i, n in enumerate((queries, keys, keys)))
    output = way(attend(function), query, key, value, segments(queries), segments(keys))
    assert output.dtype == dtype
    expected = by_rows(query, key, value, queries, keys)
    error = (output.double() - expected).abs().max() / expected.abs().max()
    assert error < TOLERANCE[dtype]


@ways
def test_empty_segments_leave_gradients_finite(way):
    """Of kept rows that attend each other, some windows may have none."""
    lengths = [2, 0, 3]
    query, key, value = (states(lengths, torch.float32, i).requires_grad_() for i in range(3))
    output = way(attend("sdpa"), query, key, value, segments(lengths), segments(lengths))
    output.sum().backward()
    assert all(x.grad.isfinite().all() for x in (query, key, value))
    torch.testing.assert_close(output.double(), by_rows(query, key, value, lengths, lengths))


def test_lengths_that_the_host_knows_are_not_read_from_the_device():
    assert Segments(torch.empty(3, device="meta"), (2, 3)).lengths == (2, 3)


@dtypes
@pytest.mark.parametrize("size", [4, 14, 72, 80])
def test_a_bias_in_channels_of_its_own(dtype, size):
    generator = torch.Generator().manual_seed(size)
    query, key, value = (torch.randn(9, HEADS, size, generator=generator) for _ in range(3))
    query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    bias = torch.randint(1, 60, (9,), generator=generator).float().log()
    wide = biased(query, key, value, bias, SCALE)
    assert all(states.shape[-1] % 8 == 0 for states in wide)
    products = torch.einsum("qhd,khd->hqk", *(states.double() for states in wide[:2])) * SCALE
    expected = torch.einsum("qhd,khd->hqk", query.double(), key.double()) * SCALE + bias
    torch.testing.assert_close(products, expected, atol=1e-4, rtol=0)  # in half precision, too
    assert torch.equal(wide[2][..., :size], value)
    assert not wide[2][..., size:].any()
