"""The model `ipcv` of lmms-eval, found by its entry point for outside packages.

lmms_eval --model ipcv --model_args pretrained=Qwen/Qwen2-VL-7B-Instruct --tasks gqa
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmms_eval.models.registry_v2 import ModelManifest


def manifest() -> ModelManifest:
    """What lmms-eval asks for: the model's name and where its class is."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest("ipcv", chat_class_path=f"{__name__}.model.Model")
