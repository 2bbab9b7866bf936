"""The names that `import ipcv` offers."""

from ipcv import baselines
from ipcv.api import CompressionHandle, compress, remove
from ipcv.language import DART, FastV, LanguageMethod, RandomDrop, V2Drop
from ipcv.settings.presets import Preset, load, preset, save
from ipcv.vision.adaptive import Adaptive
from ipcv.vision.ipcv import IPCV
from ipcv.vision.method import VisionMethod

__all__ = [
    "DART",
    "IPCV",
    "Adaptive",
    "CompressionHandle",
    "FastV",
    "LanguageMethod",
    "Preset",
    "RandomDrop",
    "V2Drop",
    "VisionMethod",
    "baselines",
    "compress",
    "load",
    "preset",
    "remove",
    "save",
]
