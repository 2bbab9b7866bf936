"""What IPCV is compared against, under the same interface.

`ipcv.compress(model, vision=ipcv.baselines.ToMe())` for what works inside the vision encoder;
`ipcv.baselines.Downsample(0.75).wrap(processor)` for what works before it.
"""

from ipcv.baselines.downsample import Downsample
from ipcv.baselines.prune import PruneOnly, RandomPrune, UniformPrune
from ipcv.baselines.tome import ToMe

__all__ = ["Downsample", "PruneOnly", "RandomPrune", "ToMe", "UniformPrune"]
