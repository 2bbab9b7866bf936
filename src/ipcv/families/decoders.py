"""Records of the kinds of language models inside multimodal ones."""

from __future__ import annotations

from functools import partial

from ipcv.families.records import DecoderKind
from ipcv.language import DART, FastV

decoder = partial(DecoderKind, settings=DART(prune_layer=3, reduction_ratio=0.65, normalize=False))
deepstack_decoder = partial(
    decoder,
    deepstack_layers=lambda config: len(config.vision_config.deepstack_visual_indexes or ()),
)
ANY_DECODER = DecoderKind(
    (
        "Qwen2Model",
        "Qwen3Model",
        "LlamaModel",
        "MistralModel",
        "GemmaModel",
        "Gemma2Model",
        "Gemma3TextModel",
    ),
    settings=FastV(prune_layer=3, reduction_ratio=0.65),
)
"""For families whose checkpoints choose their language model."""
