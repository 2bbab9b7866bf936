"""DivPrune against a plain loop over pairs; what it chooses in a model."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ipcv
from ipcv.baselines import DivPrune
from ipcv.families import find_decoder
from ipcv.language.divprune import farthest
from tests.language.test_matrix import CASES
from tests.language.test_methods import images_of, kept_by
from tests.language.tiny import build, inputs


def by_pairs(tokens, count):
    """Add the token whose nearest kept one is farthest, from the one least like the mean on."""
    unit = [(token / token.norm()).double() for token in tokens]
    mean = sum(unit) / len(unit)
    kept = [min(range(len(unit)), key=lambda i: float(unit[i] @ mean))]
    while len(kept) < count:
        others = [i for i in range(len(unit)) if i not in kept]
        kept.append(min(others, key=lambda i: max(float(unit[i] @ unit[k]) for k in kept)))
    return sorted(kept)


@settings(deadline=None, max_examples=50)
@given(st.integers(3, 12), st.integers(1, 12), st.integers(0, 2**16))
def test_farthest(length, count, seed):
    """Of two tokens each is as far from their mean: rounding decides."""
    tokens = torch.randn(length, 7, generator=torch.Generator().manual_seed(seed))
    count = min(length, count)
    assert farthest(tokens, count).tolist() == by_pairs(tokens, count)


def test_copies_go_first_and_counts_hold():
    """Also where tokens are equal, zero or not finite."""
    tokens = torch.eye(4).repeat(3, 1)
    assert {int(i) % 4 for i in farthest(tokens, 4)} == {0, 1, 2, 3}
    tokens[5], tokens[6, 0], tokens[7] = 0, torch.nan, torch.inf
    assert farthest(tokens[:1], 1).tolist() == [0]
    for count in range(1, 13):
        kept = farthest(tokens, count)
        assert len(kept.unique()) == count


@pytest.mark.parametrize("name", ["qwen2_vl", "internvl"])
def test_choice(name):
    model, prompt = build(name, "eager"), inputs(name, CASES["mixed-batch"])
    with torch.no_grad():
        states = model(**prompt, output_hidden_states=True).hidden_states[0]
    images = images_of(prompt, find_decoder(model).visual_ids, None)
    for (row, columns, _), mine in zip(images, kept_by(name, DivPrune(0.6)), strict=True):
        assert mine == by_pairs(states[row, columns], max(1, int(len(columns) * 0.4)))


def test_nothing_dropped_is_bitwise_the_same():
    model, prompt = build("qwen2_vl"), inputs("qwen2_vl", CASES["mixed-batch"])
    with torch.no_grad():
        plain = model(**prompt).logits
        with ipcv.compress(model, language=DivPrune(0)):
            assert torch.equal(model(**prompt).logits, plain)
