"""Random rows in groups, for tests of tensor functions."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st


def check(*strategies):
    quick = settings(deadline=None, max_examples=60)
    return lambda test: quick(given(*strategies)(test))


seeds = st.integers(0, 2**32 - 1)


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def split(lengths):
    """Row numbers of every group."""
    return [rows.tolist() for rows in torch.arange(sum(lengths)).split(list(lengths))]


@st.composite
def groups(draw, minimum=0):
    """Lengths of some groups, and how many rows of each are kept."""
    lengths = draw(st.lists(st.integers(max(minimum, 1), 9), min_size=1, max_size=5))
    return lengths, [draw(st.integers(minimum, length)) for length in lengths]
