"""The greedy answer of a model, with all that a measurement looks at."""

from __future__ import annotations

from typing import Any

import torch

from ipcv.core.arguments import Arguments


def generate(model: Any, inputs: Arguments, new_tokens: int, at_least: int | None = None) -> Any:
    """What `model.generate` returns for a greedy answer: `sequences`, `logits`, the cache."""
    with torch.inference_mode():
        return model.generate(
            **inputs,
            max_new_tokens=new_tokens,
            min_new_tokens=at_least,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
