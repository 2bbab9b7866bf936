"""Tokens in and kept, where the engine's `/metrics` can find them."""

from __future__ import annotations

from prometheus_client import Counter

from ipcv.stats import Stats
from ipcv.vision.records import EncoderCall

PATCHES = Counter("ipcv:encoder_patches", "Patches that entered the vision encoder.")
KEPT = Counter("ipcv:encoder_patches_kept", "Patches that went through all its blocks.")


class Counters(Stats):
    """Counts in place of remembering: a server runs for months."""

    def add(self, call: EncoderCall) -> None:
        """Count the patches of an encoder call, which the host knows."""
        PATCHES.inc(sum(item.patches for item in call.items))
        KEPT.inc(sum(item.kept for item in call.items))


class Uncounted(Stats):
    """For all but the first of several ranks that encode the same."""

    def add(self, call: EncoderCall) -> None:
        """Leave it to the first rank."""
