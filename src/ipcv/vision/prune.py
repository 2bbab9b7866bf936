"""Ablations of IPCV's parts: another choice of patches, or nothing that rebuilds them."""

from __future__ import annotations

from dataclasses import dataclass

from ipcv.core.config import IPCV


@dataclass(frozen=True)
class RandomPrune(IPCV):
    """IPCV on random patches; `reconstruction="none"` leaves Neighbor-Guided Reconstruction out.

    The patches are the same for all images of a size.
    """

    selector: str = "random"


@dataclass(frozen=True)
class UniformPrune(IPCV):
    """IPCV on a regular grid of patches; `reconstruction="none"` leaves reconstruction out."""

    selector: str = "uniform"


@dataclass(frozen=True)
class PruneOnly(IPCV):
    """IPCV's choice of patches and nothing else: removed ones stay as they were when removed."""

    stabilization_layers: int = 0
    reconstruction: str = "none"
