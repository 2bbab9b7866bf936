"""Locally linear weights, as in Locally Linear Embedding (Roweis and Saul, 2000)."""

from __future__ import annotations

import torch
from torch import Tensor

from ipcv.vision.neighbors import Neighbors
from ipcv.vision.reconstruction.offsets import TINY, weighted
from ipcv.vision.reconstruction.split import Split

RIDGE = 0.01
"""Added to the diagonal, over its mean: keeps weights small where neighbours are nearly alike."""


def affine(split: Split, num_neighbors: int) -> Neighbors:
    """The combination of the nearest kept rows that is nearest.

    Weights sum to 1 and may be negative; they solve `(Z Z^T + ridge) w = 1`, with the neighbours'
    offsets `Z` from the removed row.
    """
    return weighted(split, split.nearest(num_neighbors), _weights)


def _weights(products: Tensor, present: Tensor) -> Tensor:
    diagonal, ones = products.diagonal(dim1=1, dim2=2), present.to(products.dtype)
    mean = diagonal.sum(1, keepdim=True) / ones.sum(1, keepdim=True)
    diagonal += (RIDGE * mean).clamp(min=TINY)
    weights: Tensor = torch.linalg.solve_ex(products, ones).result
    return weights / weights.sum(1, keepdim=True)
