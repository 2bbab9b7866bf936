"""Information-preserving compression of the vision encoders of multimodal language models."""

from ipcv import baselines
from ipcv.api import CompressionHandle, compress
from ipcv.core.config import IPCV
from ipcv.language import DART, FastV, RandomDrop, V2Drop
from ipcv.settings.presets import Preset, load, preset, save
from ipcv.vision.progressive import Progressive

__version__ = "0.1.0"

__all__ = [
    "DART",
    "IPCV",
    "CompressionHandle",
    "FastV",
    "Preset",
    "Progressive",
    "RandomDrop",
    "V2Drop",
    "__version__",
    "baselines",
    "compress",
    "load",
    "preset",
    "save",
]
