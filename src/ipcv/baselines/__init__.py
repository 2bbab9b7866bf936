"""What IPCV is compared against, under the same interface.

`ipcv.compress(model, vision=ipcv.baselines.ToMe())` for what works inside the vision encoder;
`ipcv.compress(model, language=ipcv.baselines.VisionZip())` for what works at its output;
`ipcv.baselines.Downsample(0.75).wrap(processor)` for what works before it.
"""

from ipcv.baselines.cdpruner import CDPruner
from ipcv.baselines.downsample import Downsample
from ipcv.baselines.prune import PruneOnly, RandomPrune, UniformPrune
from ipcv.baselines.tome import ToMe
from ipcv.baselines.visionzip import VisionZip

__all__ = [
    "CDPruner",
    "Downsample",
    "PruneOnly",
    "RandomPrune",
    "ToMe",
    "UniformPrune",
    "VisionZip",
]
