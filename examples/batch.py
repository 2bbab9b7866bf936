"""A batch: pictures of several sizes at a time, each compressed by itself."""

from __future__ import annotations

from PIL import Image

import ipcv
from ipcv.inputs.loading import load
from ipcv.models import EXAMPLE, TINY


def main() -> None:
    """Ask the embedded model about three pictures."""
    model, processor = load(TINY)
    scene = Image.open(EXAMPLE).convert("RGB")
    pictures = [scene, scene.resize((336, 336)), scene.crop((0, 0, 448, 224))]
    text = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}],
        add_generation_prompt=True,
    )
    processor.tokenizer.padding_side = "left"
    inputs = processor(
        text=[text] * len(pictures), images=pictures, padding=True, return_tensors="pt"
    ).to(model.device)
    with ipcv.compress(model, ipcv.preset(model).vision) as handle:
        output = model.generate(**inputs, max_new_tokens=8)
    answers = processor.batch_decode(
        output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    for picture, kept, answer in zip(pictures, handle.kept_indices, answers, strict=True):
        print(f"{picture.size}: {len(kept)} patches kept: {answer}")


if __name__ == "__main__":
    main()
