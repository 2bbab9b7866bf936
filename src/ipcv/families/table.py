"""The families of models that are supported."""

from __future__ import annotations

from ipcv.families.batched import BATCHED
from ipcv.families.packed import PACKED

FAMILIES = (*PACKED, *BATCHED)
