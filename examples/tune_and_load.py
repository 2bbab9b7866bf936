"""Tuning: settings for a model and pictures, found without labels, saved and loaded."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image

import ipcv
from ipcv.bench.tuning.goals import Speedup
from ipcv.bench.tuning.task import Tuning
from ipcv.inputs.loading import load
from ipcv.inputs.prompt import build_inputs, read_prompt
from ipcv.models import EXAMPLE, TINY


def main() -> None:
    """Tune the embedded model on crops of the example; the command is `ipcv tune`."""
    model, processor = load(TINY)
    with TemporaryDirectory() as name:
        folder = Path(name)
        scene = Image.open(EXAMPLE).convert("RGB")
        for i in range(8):
            scene.crop((28 * i, 28 * i, 28 * i + 224, 28 * i + 224)).save(folder / f"{i}.png")
        # Twice as fast needs pictures that keep the encoder busy; these are small.
        outcome = Tuning(folder, Speedup(1.1), count=1).run("tiny", model, processor)
        ipcv.save(folder / "ipcv.json", outcome.settings)
        settings = ipcv.load(folder / "ipcv.json")
    media, question = read_prompt(None)  # the shipped example
    inputs = build_inputs(model, processor, media, question)
    with torch.inference_mode(), ipcv.compress(model, *settings):
        output = model.generate(**inputs, max_new_tokens=8)
    print(settings.vision)
    print(processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


if __name__ == "__main__":
    main()
