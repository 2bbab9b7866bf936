"""The determinantal point process against plain determinants; what it chooses in a model."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import ipcv
from ipcv.baselines import CDPruner
from ipcv.core import ops
from ipcv.families import find_decoder
from ipcv.language.cdpruner import most_diverse, relevance
from tests.language.test_matrix import CASES
from tests.language.test_methods import images_of, kept_by
from tests.language.tiny import NAMES, build, inputs


def greedy(vectors, weights, count):
    """Add `count` times the token with which the determinant of the kernel is largest."""
    vectors, weights = vectors.double(), weights.double()
    kernel = weights[:, None] * (vectors @ vectors.T) * weights
    chosen = []
    for _ in range(count):
        others = [i for i in range(len(vectors)) if i not in chosen]
        chosen.append(max(others, key=lambda i: log_determinant(kernel, [*chosen, i])))
    return chosen


def log_determinant(kernel, chosen):
    return float(torch.linalg.slogdet(kernel[chosen][:, chosen]).logabsdet)


def min_max(similarity):
    low, high = similarity.min(), similarity.max()
    return (similarity - low) / (high - low)


def chosen_by(images, weights, counts):
    """`most_diverse` as index lists, for images in one batch."""
    lengths = [len(image) for image in images]
    padded = ops.pad_groups(torch.cat(images), lengths)
    is_kept = most_diverse(padded, ops.pad_groups(torch.cat(weights), lengths), lengths, counts)
    assert not any(row[n:].any() for row, n in zip(is_kept, lengths, strict=True))
    return [row.nonzero().flatten().tolist() for row in is_kept]


def unit(generator, *shape):
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(
        st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))),
        min_size=1,
        max_size=4,
    ),
    seed=st.integers(0, 2**16),
)
def test_greedy_map(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    images = [unit(generator, n, 9) for n, _ in sizes]
    weights = [torch.rand(n, generator=generator) * 0.9 + 0.1 for n, _ in sizes]
    counts = [count for _, count in sizes]
    batch = chosen_by(images, weights, counts)
    for number, chosen in enumerate(batch):
        image, weight, count = images[number], weights[number], counts[number]
        assert chosen == sorted(greedy(image, weight, count))
        assert [chosen] == chosen_by([image], [weight], [count])


def test_many_tokens():
    generator = torch.Generator().manual_seed(0)
    base = unit(generator, 6, 64).repeat(10, 1)  # ten look-alikes of each
    image = F.normalize(base + 0.02 * torch.randn(60, 64, generator=generator), dim=-1)
    weight = torch.rand(60, generator=generator)
    for count in (6, 25, 60):
        assert chosen_by([image], [weight], [count]) == [sorted(greedy(image, weight, count))]
    six = chosen_by([image], [torch.ones(60)], [6])[0]
    assert {i % 6 for i in six} == set(range(6))


def test_more_tokens_than_dimensions():
    """Where nothing new is left, the more relevant go first; an exact copy never goes before."""
    image = torch.eye(3).repeat(4, 1)
    weight = torch.linspace(0.5, 1, 12)
    assert chosen_by([image], [weight], [3]) == [[9, 10, 11]]
    assert chosen_by([image], [weight], [5]) == [[7, 8, 9, 10, 11]]
    assert chosen_by([image], [weight], [12]) == [list(range(12))]
    assert chosen_by([torch.ones(5, 1)], [torch.ones(5)], [2]) == [[0, 1]]


def test_irrelevant_tokens_go_last():
    generator = torch.Generator().manual_seed(0)
    image, weight = unit(generator, 8, 16), torch.tensor([1.0, 0, 0.5, 0, 0.2, 0, 0.9, 0])
    assert chosen_by([image], [weight], [1]) == [[0]]
    assert chosen_by([image], [weight], [4]) == [[0, 2, 4, 6]]


def test_relevance():
    values = torch.tensor([[0.25, 0.75, 0.5, -9.0], [0.1, 0.1, 0.1, 0.1]])
    scaled = relevance(values, [3, 4])
    torch.testing.assert_close(scaled[0], torch.tensor([0, 1, 0.5, 0]), atol=1e-5, rtol=0)
    assert scaled[1].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("ratio", [0.85, 0.95])  # fewer tokens than their 32 dimensions
@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("qwen3")])
def test_choice(name, ratio):
    model, prompt = build(name, "eager"), inputs(name, CASES["mixed-batch"])
    with torch.no_grad():
        states = model(**prompt, output_hidden_states=True).hidden_states[0]
    visual_ids = find_decoder(model).visual_ids
    share = 64 if name.startswith(("llava-clip", "paligemma")) else None
    kept = kept_by(name, CDPruner(ratio))
    images = images_of(prompt, visual_ids, share)
    for (row, columns, _), mine in zip(images, kept, strict=True):
        ids, real = prompt["input_ids"][row].tolist(), prompt["attention_mask"][row].tolist()
        text = [c for c, token in enumerate(ids) if real[c] and token not in visual_ids]
        tokens = states[row, columns]
        similarity = torch.stack(
            [torch.cosine_similarity(token, states[row, text], dim=-1).mean() for token in tokens]
        )
        count = max(1, int(len(columns) * (1 - ratio)))
        expected = greedy(F.normalize(tokens, dim=-1), min_max(similarity), count)
        assert mine == sorted(expected)


def test_other_images_do_not_matter():
    """Of the same text, with another image in the place of the other one."""
    model = build("qwen2_vl")
    kept = kept_by("qwen2_vl", CDPruner(0.5))
    prompt = inputs("qwen2_vl", CASES["mixed-batch"])
    prompt["pixel_values"][-48:] += 1  # the second image of the last row
    with torch.no_grad(), ipcv.compress(model, language=CDPruner(0.5)) as handle:
        model(**prompt)
    others = [indices.tolist() for indices in handle.stats.prefills[0].kept_indices]
    assert others[:2] == kept[:2]
    assert others[2] != kept[2]
