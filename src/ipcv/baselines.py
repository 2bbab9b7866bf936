"""The rivals of IPCV, under the same interface.

`ipcv.compress(model, vision=ipcv.baselines.ToMe())` for what works inside the vision encoder;
`ipcv.compress(model, language=ipcv.baselines.VisionZip())` for what works at its output;
`ipcv.baselines.Downsample(0.75).wrap(processor)` for what works before it.
"""

from ipcv.inputs.downsampling import Downsample
from ipcv.language.cdpruner import CDPruner
from ipcv.language.divprune import DivPrune
from ipcv.language.drop_copies import DropCopies
from ipcv.language.visionzip import VisionZip
from ipcv.vision.pixelprune import PixelPrune
from ipcv.vision.run_length import RunLength
from ipcv.vision.tome import ToMe

__all__ = [
    "CDPruner",
    "DivPrune",
    "Downsample",
    "DropCopies",
    "PixelPrune",
    "RunLength",
    "ToMe",
    "VisionZip",
]
