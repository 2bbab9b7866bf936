"""vLLM plugin: compresses the vision encoder of every worker.

The entry point `vllm.general_plugins` calls `register` in every process of the engine. Nothing
changes until the engine is started with `--additional-config '{"ipcv": {...}}'`.
"""

from __future__ import annotations

from ipcv.families import FAMILIES

__all__ = ["register"]

MODELS = {
    architecture: architecture.removesuffix("ForConditionalGeneration").removesuffix("Model")
    for family in FAMILIES
    for architecture in family.served.values()
}
"""Architectures, as a checkpoint's configuration names them, and the name of our class for each."""


def register() -> None:
    """Register our model classes, and a check of every engine's configuration. May run again."""
    from vllm import ModelRegistry

    from ipcv.integrations.vllm.checks import guard_all

    for architecture, name in MODELS.items():
        # By name: a process that will start workers must not import models.
        ModelRegistry.register_model(architecture, f"ipcv.integrations.vllm.models:{name}")
    guard_all()
