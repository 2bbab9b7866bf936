"""Refusals: what cannot be right with pruned prompts, before it is computed."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache

from ipcv.language.cache import SUPPORTED_LAYERS, PrunedLayer
from ipcv.language.decoder import Decoder
from ipcv.language.layout import PromptLayout
from ipcv.language.method import LanguageMethod


def check_method(method: LanguageMethod, decoder: Decoder) -> None:
    """Raise `ValueError` where the method's layers cannot work for this decoder."""
    depth = len(decoder.layers)
    for layer in method.prune_layers:
        if layer >= depth:
            raise ValueError(
                f"{type(method).__name__} drops tokens before layer {layer}, but the language "
                f"model has {depth} layers: it must be between {method.first_layer} and {depth - 1}"
            )


def check_call(decoder: Decoder, first: int, arguments: dict[str, Any]) -> None:
    """Raise `RuntimeError` or `ValueError` where a forward cannot be right.

    Args:
        decoder: the language model.
        first: the first layer that runs without dropped tokens.
        arguments: of the multimodal model's forward.
    """
    _check_mode(decoder)
    _check_cache(arguments.get("past_key_values"))
    _check_attention(decoder, first, arguments)
    embeds = arguments.get("inputs_embeds")
    if arguments.get("input_ids") is None and embeds is not None and embeds.shape[1] > 1:
        raise ValueError(
            "language-side compression finds the images by their token ids: pass input_ids, not "
            "inputs_embeds alone"
        )


def _check_mode(decoder: Decoder) -> None:
    modules = decoder.owner, decoder.model, *decoder.layers
    if any(module.training for module in modules):
        raise RuntimeError(
            "language-side compression is for inference: call model.eval(), or remove() the handle "
            "before training"
        )
    is_compiled = any(getattr(module, "_compiled_call_impl", None) for module in modules)
    if is_compiled or _is_inside_compiled():
        raise RuntimeError(
            "language-side compression changes shapes inside the language model and cannot run "
            "under torch.compile: use the uncompiled model"
        )


def _is_inside_compiled() -> bool:
    # While tracing, the exception only makes dynamo fall back to the interpreter, which still
    # hands it the frames below.
    dynamo: Any = torch._C._dynamo.eval_frame
    return torch.compiler.is_compiling() or dynamo.get_eval_frame_callback() is not None


def _check_cache(cache: Any) -> None:
    if cache is None:
        return
    allowed = (*SUPPORTED_LAYERS, PrunedLayer)
    layers = cache.layers if isinstance(cache, Cache) else [cache]
    if refused := {type(layer).__name__ for layer in layers if type(layer) not in allowed}:
        raise ValueError(
            f"language-side compression needs a DynamicCache that can hold fewer tokens in some "
            f"layers; this one has {' and '.join(sorted(refused))}"
        )


def _check_attention(decoder: Decoder, first: int, arguments: dict[str, Any]) -> None:
    implementation = decoder.config._attn_implementation
    if implementation == "flex_attention":
        raise ValueError(
            "language-side compression cannot slice the masks of flex_attention: load the model "
            'with attn_implementation="sdpa", "eager" or a flash one'
        )
    layers = range(first, len(decoder.layers))
    if "flash" in implementation and any(decoder.window(layer) for layer in layers):
        raise ValueError(
            "flash attention counts a sliding window in tokens held, which is wrong once some are "
            'dropped: load the model with attn_implementation="sdpa"'
        )
    if arguments.get("cu_seq_lens_q") is not None:
        raise ValueError("language-side compression does not support packed sequences")


def check_images(layout: PromptLayout) -> None:
    """Raise `RuntimeError` where a prompt seems to be cut inside an image."""
    for run in layout.runs:
        if run.start + run.length - 1 == layout.last[run.row]:
            raise RuntimeError(
                "the input ends in the middle of an image: language-side compression does not "
                "support chunked prefill, and needs text after the last image"
            )


def check_generate(generator: Any, arguments: dict[str, Any]) -> None:
    """Raise `RuntimeError` where `generate` is asked for chunked prefill.

    The forward cannot tell a chunk of a prompt from a turn of a chat.
    """
    configs = arguments.get("generation_config"), getattr(generator, "generation_config", None)
    sizes = [getattr(config, "prefill_chunk_size", None) for config in configs]
    if arguments.get("prefill_chunk_size") is not None or any(sizes):
        raise RuntimeError(
            "language-side compression needs the whole prompt at once: "
            "generate without prefill_chunk_size"
        )
