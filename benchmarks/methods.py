"""The methods that are measured: every one of the library's own, and the rivals to beat."""

from __future__ import annotations

from torch import nn

from ipcv import public
from ipcv.bench.variants import UNCOMPRESSED, VISION_METHODS, Variant, make_variants

RATIO = 0.65
"""The published fraction of patches removed."""

RIVALS = ("tome", "downsample")
PRESET = "ipcv"
"""What `VISION_METHODS` calls the preset, which is one of the others."""


def measured_methods(model: nn.Module) -> list[str]:
    """Their names in `VISION_METHODS`, without those that the model's encoder cannot take.

    Of one class only the first: the others are ablations of it.
    """
    names, classes = list[str](), set[str]()
    for name in VISION_METHODS:
        variant = make_variants(model, [name], [RATIO])[f"{name} {RATIO:g}"]
        kind = type(variant.vision).__name__
        is_own = name != PRESET and kind in public.__all__ and kind not in classes
        if (is_own or name in RIVALS) and can_run(model, variant):
            names.append(name)
            classes.add(kind)
    return names


def measured_variants(model: nn.Module, ratio: float = RATIO) -> dict[str, Variant]:
    """The uncompressed model, and by their methods' names the others at one ratio."""
    names = measured_methods(model)
    made = make_variants(model, names, [ratio])
    return {UNCOMPRESSED: Variant()} | {name: made[f"{name} {ratio:g}"] for name in names}


def can_run(model: nn.Module, variant: Variant) -> bool:
    """Whether the model's encoder can be compressed this way."""
    try:
        with variant.applied(model):
            return True
    except ValueError:
        return False
