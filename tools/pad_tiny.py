"""The embedded model with attention heads of 64 in place of 40, giving the same answers.

vLLM's attention on a CPU takes heads of some sizes only. Padding is exact but for rounding: what is
added is zero, and scales, RMSNorm weights and the rotary base make up for the changed sizes.

    python tools/pad_tiny.py FOLDER
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ipcv.models import TINY

HEADS, OLD, NEW = 4, 40, 64
WIDTH, PADDED = HEADS * OLD, HEADS * NEW
ROTARY = [*range(OLD // 2), *range(NEW // 2, NEW // 2 + OLD // 2)]
"""Where the rotating pairs `(i, i + size / 2)` of an old head are in a new one."""


def main() -> None:
    """Write the padded model into the folder named on the command line."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    pad(Path(sys.argv[1]))


def pad(folder: Path) -> Path:
    """Write the padded checkpoint, float32, with all files of the embedded one."""
    shutil.copytree(TINY, folder, dirs_exist_ok=True)
    weights = load_file(TINY / "model.safetensors")
    save_file(
        {name: _padded(name, weight.float()) for name, weight in weights.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    config = json.loads((TINY / "config.json").read_text())
    text, rope = config["text_config"], config["text_config"]["rope_parameters"]
    text["hidden_size"] = config["vision_config"]["hidden_size"] = PADDED
    text["rms_norm_eps"] *= WIDTH / PADDED
    rope["rope_theta"] **= NEW / OLD
    rope["mrope_section"][-1] += (NEW - OLD) // 2
    config["dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    return folder


def _padded(name: str, weight: Tensor) -> Tensor:
    for pattern, change in CHANGES.items():
        if re.fullmatch(pattern, name):
            return change(weight)
    return weight


def _spread(weight: Tensor, dim: int) -> Tensor:
    """Zeros behind the model's width."""
    return _placed(weight, dim, list(range(WIDTH)), PADDED)


def _heads(weight: Tensor, dim: int, places: list[int]) -> Tensor:
    """Old heads, along `dim`, at their places in new ones."""
    heads = weight.shape[dim] // OLD
    index = [NEW * head + place for head in range(heads) for place in places]
    return _placed(weight, dim, index, heads * NEW)


def _placed(weight: Tensor, dim: int, index: list[int], size: int) -> Tensor:
    shape = list(weight.shape)
    shape[dim] = size
    padded: Tensor = weight.new_zeros(shape).index_copy_(dim, torch.tensor(index), weight)
    return padded


FRONT = list(range(OLD))
ROOT = (NEW / OLD) ** 0.5  # products of queries and keys are divided by the root of the size
CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    r"model\.embed_tokens\.weight": lambda w: _spread(w, 1),
    r"visual\.merger\.mlp\.2\..*": lambda w: _spread(w, 0),
    r"model\..*norm\.weight": lambda w: _spread(w, 0) / ROOT,  # of a mean over more channels
    r"model\..*(gate|up)_proj\.weight": lambda w: _spread(w, 1),
    r"model\..*down_proj\.weight": lambda w: _spread(w, 0),
    r"model\..*q_proj\.weight": lambda w: _spread(_heads(w, 0, ROTARY), 1) * ROOT,
    r"model\..*q_proj\.bias": lambda w: _heads(w, 0, ROTARY) * ROOT,
    r"model\..*k_proj\.weight": lambda w: _spread(_heads(w, 0, ROTARY), 1),
    r"model\..*k_proj\.bias": lambda w: _heads(w, 0, ROTARY),
    r"model\..*v_proj\.weight": lambda w: _spread(_heads(w, 0, FRONT), 1),
    r"model\..*v_proj\.bias": lambda w: _heads(w, 0, FRONT),
    r"model\..*o_proj\.weight": lambda w: _spread(_heads(w, 1, FRONT), 0),
}
"""What is done to a weight, by its name; the first pattern that fits."""


if __name__ == "__main__":
    main()
