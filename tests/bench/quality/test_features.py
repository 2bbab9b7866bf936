"""Recall and segments, against plain loops."""

import math

import pytest
import torch

from ipcv.bench.quality.features import (
    CLUSTERS,
    recall_at_1,
    segment_agreement,
    segment_centres,
)


def cosine(u: list[float], v: list[float]) -> float:
    return sum(x * y for x, y in zip(u, v, strict=True)) / math.hypot(*u) / math.hypot(*v)


def test_recall_is_a_search_for_oneself(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = torch.randn(40, 3)
    tokens = expected + 0.4 * torch.randn(40, 3)
    found = 0
    for i, token in enumerate(tokens.tolist()):
        similar = [cosine(token, other) for other in expected.tolist()]
        found += max(range(40), key=similar.__getitem__) == i
    assert 0 < found < 40
    assert recall_at_1(tokens, expected) == found / 40
    monkeypatch.setattr("ipcv.bench.quality.features._ROWS", 7)
    assert recall_at_1(tokens, expected) == found / 40


def test_a_tie_is_no_miss() -> None:
    tokens = torch.ones(4, 3)
    assert recall_at_1(tokens, tokens) == 1


def test_segments_are_those_of_the_nearest_centre() -> None:
    expected = torch.randn(60, 5)
    tokens = expected + torch.randn(60, 5)
    centres = segment_centres(expected)
    assert centres.shape == (CLUSTERS, 5)

    def segment(token: list[float]) -> int:
        unit = [x / math.hypot(*token) for x in token]
        return min(range(CLUSTERS), key=lambda k: math.dist(unit, centres[k].tolist()))

    same = sum(
        segment(a) == segment(b) for a, b in zip(tokens.tolist(), expected.tolist(), strict=True)
    )
    assert 0 < same < 60
    assert segment_agreement(tokens, expected, centres) == same / 60


def test_clear_segments_are_found_and_are_the_same_every_time() -> None:
    axes = 10 * torch.eye(CLUSTERS)
    labels = torch.arange(80) % CLUSTERS
    tokens = axes[labels] + 0.1 * torch.randn(80, CLUSTERS)
    centres = segment_centres(tokens)
    assert torch.equal(centres, segment_centres(tokens))
    nearest = torch.cdist(torch.eye(CLUSTERS), centres).min(1).values
    assert nearest.max() < 0.05
    moved = tokens.clone()
    moved[:20] = axes[(labels[:20] + 1) % CLUSTERS]
    assert segment_agreement(moved, tokens, centres) == 60 / 80


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_tokens_than_segments(count: int) -> None:
    tokens = torch.randn(count, 4)
    assert segment_centres(tokens).shape == (count, 4)
    assert segment_agreement(tokens, tokens, segment_centres(tokens)) == 1
    assert segment_centres(tokens.repeat(9, 1)).shape == (count, 4)
