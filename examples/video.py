"""A video: a clip of frames. Where torchvision is missing they go in as images, one by one."""

from __future__ import annotations

import torch
from PIL import Image

import ipcv
from ipcv.inputs.loading import load
from ipcv.inputs.prompt import Media, build_inputs
from ipcv.models import EXAMPLE, TINY


def main() -> None:
    """Show the embedded model a clip of four frames, a window that moves over the example."""
    model, processor = load(TINY)
    scene = Image.open(EXAMPLE).convert("RGB")
    frames = tuple(scene.crop((8 * i, 0, 224 + 8 * i, 224)) for i in range(4))
    inputs = build_inputs(model, processor, [Media(frames)], "What is it?")
    with torch.inference_mode(), ipcv.compress(model, ipcv.preset(model).vision) as handle:
        output = model.generate(**inputs, max_new_tokens=8)
    print(processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    print(handle.stats)


if __name__ == "__main__":
    main()
