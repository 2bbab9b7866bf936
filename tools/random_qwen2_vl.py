"""Qwen2-VL-2B's widths with two of its 32 and two of its 28 blocks, and weights that are random.

So the vision encoder's share of a prompt's time is about the real model's. Tokenizer and processor
are the embedded model's, for images of any size.

    python tools/random_qwen2_vl.py FOLDER
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText, Qwen2VLConfig

from ipcv.bench.cost.shapes import DIMENSIONS
from ipcv.models import TINY

BLOCKS = 2
FILES = ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json")
MAX_PIXELS = 4096 * 4096


def main() -> None:
    """Write the checkpoint into the folder named on the command line."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder, tiny = Path(sys.argv[1]), json.loads((TINY / "config.json").read_text())
    shape = DIMENSIONS["qwen2-vl-2b"]
    names = ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")
    text = shape.text | {name: tiny["text_config"][name] for name in names}
    text["num_hidden_layers"], vision = BLOCKS, shape.vision | {"depth": BLOCKS}
    tokens = {name: tiny[name] for name in ("image_token_id", "video_token_id")}
    torch.manual_seed(0)
    config = Qwen2VLConfig(vision_config=vision, text_config=text, **tokens)
    AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    for name in FILES:
        shutil.copy(TINY / name, folder)
    images = json.loads((TINY / "preprocessor_config.json").read_text())
    images["size"]["longest_edge"] = MAX_PIXELS
    (folder / "preprocessor_config.json").write_text(json.dumps(images, indent=2))


if __name__ == "__main__":
    main()
