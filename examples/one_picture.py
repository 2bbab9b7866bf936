"""One picture: a question, with and without compression."""

from __future__ import annotations

import ipcv
from ipcv.inputs.loading import load
from ipcv.models import EXAMPLE, TINY


def main() -> None:
    """Ask the embedded model; any other works the same way."""
    model, processor = load(TINY)  # or load("Qwen/Qwen2-VL-7B-Instruct")
    message = [
        {"type": "image", "path": str(EXAMPLE)},
        {"type": "text", "text": "What number is written?"},
    ]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": message}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    ).to(model.device)
    before = inputs["input_ids"].shape[1]
    plain = model.generate(**inputs, max_new_tokens=8)
    with ipcv.compress(model, *ipcv.preset(model)) as handle:
        compressed = model.generate(**inputs, max_new_tokens=8)
    for name, output in (("uncompressed", plain), ("compressed", compressed)):
        print(f"{name}: {processor.decode(output[0, before:], skip_special_tokens=True)}")
    print(handle.stats)


if __name__ == "__main__":
    main()
