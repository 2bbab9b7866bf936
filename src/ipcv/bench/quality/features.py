"""Figures of patch features that people can read: recall at 1, and agreement of a segmentation."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

CLUSTERS = 8
"""The segments of an image."""

ITERATIONS = 20
_ROWS = 1024  # of a matrix of similarities that are computed together


def recall_at_1(tokens: Tensor, expected: Tensor) -> float:
    """The share of tokens `(T, C)` whose nearest among all expected ones is their own.

    By cosine similarity; a tie with another counts as found.
    """
    tokens, expected = F.normalize(tokens, dim=-1), F.normalize(expected, dim=-1)
    found = 0
    for first in range(0, len(tokens), _ROWS):
        similar = tokens[first : first + _ROWS] @ expected.T
        found += int((similar.diagonal(first) >= similar.amax(1)).sum())
    return found / len(tokens)


def segment_centres(tokens: Tensor) -> Tensor:
    """The centres `(K, C)` of the segments of an image: k-means of its tokens' directions.

    `CLUSTERS` of them, or one per direction where there are fewer, from a fixed start.

    Args:
        tokens: `(T, C)` fp32 on the CPU.
    """
    from scipy.cluster.vq import kmeans2

    directions = F.normalize(tokens, dim=-1).double().numpy()
    count = min(CLUSTERS, len(np.unique(directions, axis=0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a segment that no token is left in
        centres, _ = kmeans2(directions, count, ITERATIONS, minit="++", rng=0)
    return torch.from_numpy(centres).float()


def segment_agreement(tokens: Tensor, expected: Tensor, centres: Tensor) -> float:
    """The share of tokens `(T, C)` that lie in the segment of the expected one.

    Args:
        tokens, expected: of one image.
        centres: its segments', of :func:`segment_centres` of the expected tokens.
    """
    own, other = (
        torch.cdist(F.normalize(t, dim=-1), centres).argmin(1) for t in (tokens, expected)
    )
    return int((own == other).sum()) / len(own)
