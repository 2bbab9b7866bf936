"""The names that `import ipcv` offers."""

from ipcv import baselines
from ipcv.api import CompressionHandle, compress
from ipcv.core.config import IPCV
from ipcv.language import DART, FastV, RandomDrop, V2Drop
from ipcv.settings.files import load, save
from ipcv.settings.presets import Preset, preset
from ipcv.vision.progressive import Progressive

__all__ = [
    "DART",
    "IPCV",
    "CompressionHandle",
    "FastV",
    "Preset",
    "Progressive",
    "RandomDrop",
    "V2Drop",
    "baselines",
    "compress",
    "load",
    "preset",
    "save",
]
