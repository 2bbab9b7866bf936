"""A method of your own: keep what stands out from the mean of its image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import ipcv
from ipcv.vision.layout import Layout
from ipcv.vision.one_step import OneStepMethod
from ipcv.vision.reconstruction import mean
from ipcv.vision.selection import Choice, Selection


@dataclass(frozen=True)
class Outstanding(OneStepMethod):
    """Prune, before block `prune_layer`, the patches that are nearest to their image's mean."""

    prune_layer: int = 2
    reduction_ratio: float = 0.5

    def scores(self, previous: Tensor, rows: Tensor, layout: Layout) -> Tensor:
        """How far each patch is from the mean of its group."""
        groups = rows.float().split(list(layout.group_lengths))
        return torch.cat([(group - group.mean(0)).norm(dim=1) for group in groups])

    def select(self, choice: Choice, rows: Tensor) -> Selection:
        """Removed patches follow the five kept ones that are nearest."""
        return Selection.of(choice, rows, mean, num_neighbors=5)


def main() -> None:
    """Ask the embedded model with it."""
    from ipcv.inputs.loading import load
    from ipcv.inputs.prompt import build_inputs, read_prompt
    from ipcv.models import TINY

    model, processor = load(TINY)
    media, question = read_prompt(None)  # the shipped example
    inputs = build_inputs(model, processor, media, question)
    with ipcv.compress(model, Outstanding()) as handle:
        output = model.generate(**inputs, max_new_tokens=8)
    print(processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    print(handle.stats)


if __name__ == "__main__":
    main()
