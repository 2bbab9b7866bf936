"""The families of models that are supported."""

from __future__ import annotations

from ipcv.families.batched import BATCHED
from ipcv.families.borrowed import BORROWED
from ipcv.families.packed import PACKED
from ipcv.families.separate import SEPARATE
from ipcv.families.timm import TIMM
from ipcv.families.vision_only import VISION_ONLY

FAMILIES = (*PACKED, *BATCHED, *SEPARATE, *BORROWED, *VISION_ONLY, *TIMM)
