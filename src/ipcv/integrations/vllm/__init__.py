"""vLLM plugin: compresses the vision encoder of every worker.

The entry point `vllm.general_plugins` calls `register` in every process of the engine. Nothing
changes until the engine is started with `--additional-config '{"ipcv": {...}}'`.
"""

from __future__ import annotations

__all__ = ["register"]

MODELS = {
    "Qwen2VLForConditionalGeneration": "Qwen2VL",
    "Qwen2_5_VLForConditionalGeneration": "Qwen2_5_VL",
    "Qwen3VLForConditionalGeneration": "Qwen3VL",
    "Qwen3VLMoeForConditionalGeneration": "Qwen3VLMoe",
    "InternVLForConditionalGeneration": "InternVL",
    "InternVLChatModel": "InternVLChat",
}
"""Architectures, as a checkpoint's configuration names them, and our class for each."""


def register() -> None:
    """Register our model classes, and a check of every engine's configuration. May run again."""
    from vllm import ModelRegistry

    from ipcv.integrations.vllm.checks import guard_all

    for architecture, name in MODELS.items():
        # By name: a process that will start workers must not import models.
        ModelRegistry.register_model(architecture, f"ipcv.integrations.vllm.models:{name}")
    guard_all()
