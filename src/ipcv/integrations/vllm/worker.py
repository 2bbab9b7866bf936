"""A part of every worker of `ipcv serve`: where ipcv is missing, it cannot start.

Importing it registers our models, whatever plugins that process was told to load.
"""

from __future__ import annotations

from ipcv.integrations.vllm import register

register()


class Compressing:
    """For `worker_extension_cls`; it adds nothing."""
