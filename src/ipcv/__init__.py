"""Information-preserving compression of the vision encoders of multimodal language models."""

from ipcv import baselines
from ipcv.api import CompressionHandle, compress
from ipcv.config import IPCV
from ipcv.decoders import DART, FastV, RandomDrop, V2Drop
from ipcv.presets import Preset, preset
from ipcv.progressive import Progressive
from ipcv.settings_file import load, save

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
