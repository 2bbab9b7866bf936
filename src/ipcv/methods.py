"""The methods of the language side by the name they have on the command line."""

from __future__ import annotations

from ipcv.baselines.cdpruner import CDPruner
from ipcv.baselines.visionzip import VisionZip
from ipcv.decoders import DART, FastV, LanguageMethod, RandomDrop, V2Drop

METHODS: dict[str, type[LanguageMethod]] = {
    "dart": DART,
    "fastv": FastV,
    "v2drop": V2Drop,
    "random": RandomDrop,
    "visionzip": VisionZip,
    "cdpruner": CDPruner,
}
