"""The families of models that are supported."""

from __future__ import annotations

from ipcv.families.batched import BATCHED
from ipcv.families.borrowed import BORROWED
from ipcv.families.other_batched import OTHER_BATCHED
from ipcv.families.packed import PACKED
from ipcv.families.separate import SEPARATE
from ipcv.families.timm import TIMM

FAMILIES = (*PACKED, *BATCHED, *SEPARATE, *BORROWED, *OTHER_BATCHED, *TIMM)
