"""The embedded model with all its linear layers in int8, as compressed-tensors stores them."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

LARGEST = 64  # of 127: on a CPU without VNNI, sums of two larger products are clipped to 16 bits
INT8 = {"num_bits": 8, "type": "int", "symmetric": True}
CONFIG: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "config_groups": {
        "all": {
            "targets": ["Linear"],
            "weights": INT8 | {"strategy": "channel"},
            "input_activations": INT8 | {"strategy": "token", "dynamic": True},
        }
    },
}


def quantize(padded: Path, folder: Path) -> Path:
    """Write weights in int8, with a scale per output channel."""
    shutil.copytree(padded, folder)
    weights: dict[str, Tensor] = {}
    for name, weight in load_file(padded / "model.safetensors").items():
        if weight.ndim == 2 and "embed" not in name:
            weights[name], weights[f"{name}_scale"] = rounded(weight)
        else:
            weights[name] = weight
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((padded / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": CONFIG}))
    return folder


def rounded(weight: Tensor) -> tuple[Tensor, Tensor]:
    """`(out, in)` in int8, and scales `(out, 1)`."""
    scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / LARGEST
    return (weight / scale).round().to(torch.int8), scale
