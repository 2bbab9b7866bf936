"""Near patches count more."""

from __future__ import annotations

import torch
from torch import Tensor

from ipcv.vision.neighbors import Neighbors
from ipcv.vision.reconstruction.offsets import TINY, weighted
from ipcv.vision.reconstruction.split import Split

SHARPNESS = 2.0
"""Of the softmax: what a squared distance of their mean takes off the logit."""


def softmax(split: Split, num_neighbors: int) -> Neighbors:
    """The nearest kept rows, weighted by `softmax(-SHARPNESS d_j^2 / mean_j d_j^2)`."""
    return weighted(split, split.nearest(num_neighbors), _weights)


def _weights(products: Tensor, present: Tensor) -> Tensor:
    distance = products.diagonal(dim1=1, dim2=2)
    mean = distance.sum(1, keepdim=True) / present.sum(1, keepdim=True)
    logits = -SHARPNESS * distance / mean.clamp(min=TINY)
    return logits.masked_fill(~present, -torch.inf).softmax(1)
