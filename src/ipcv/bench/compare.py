"""The same question to the same model, with and without compression, side by side."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ipcv.api import CompressionHandle, compress
from ipcv.arguments import Arguments
from ipcv.bench.clock import milliseconds
from ipcv.bench.flops import count_flops
from ipcv.config import IPCV
from ipcv.decoders import LanguageMethod
from ipcv.encoders.registry import adapter_for
from ipcv.stats import VisionCall

REPETITIONS = 5
"""Timed runs per variant, of which the median is reported."""

UNCOMPRESSED = IPCV(prune_layer=1, reduction_ratio=0)
"""Counts patches and changes nothing."""


@dataclass(frozen=True)
class Variant:
    """One way to run a model: the settings of both sides; `None` leaves a side as it is."""

    vision: IPCV | None = None
    language: LanguageMethod | None = None

    def applied(self, model: nn.Module) -> AbstractContextManager[object]:
        """A context in which the model runs this way."""
        if self.vision is None and self.language is None:
            return nullcontext()
        return compress(model, self.vision, self.language)


@dataclass
class Run:
    """A variant on one prompt; times in milliseconds, one entry per repetition.

    Attributes:
        answer: the decoded new tokens.
        new_tokens: how many were generated.
        encoder_ms: in the vision encoder.
        prefill_ms: in the language model's first forward.
        decode_ms: in the language model's other forwards, per new token; empty for one token.
        total_ms: the whole of `generate`.
        encoder_gflops: of the vision encoder, all its calls.
        visual_tokens: `(T, C)` fp32 on the CPU, as handed to the language model.
        calls: what the encoder did, per call and item.
        llm_tokens: tokens of the prompt that go through the language model's last layer.
        kv_bytes: of the language model's cache, after the answer.
    """

    answer: str = ""
    new_tokens: int = 0
    encoder_ms: list[float] = field(default_factory=list)
    prefill_ms: list[float] = field(default_factory=list)
    decode_ms: list[float] = field(default_factory=list)
    total_ms: list[float] = field(default_factory=list)
    encoder_gflops: float = 0.0
    visual_tokens: Tensor | None = None
    calls: list[VisionCall] = field(default_factory=list)
    llm_tokens: int = 0
    kv_bytes: int = 0

    def summary(self) -> dict[str, Any]:
        """The numbers as JSON types; of the times the medians."""
        return {
            "answer": self.answer,
            "new_tokens": self.new_tokens,
            "patches": sum(item.patches for call in self.calls for item in call.items),
            "patches_kept": sum(item.kept for call in self.calls for item in call.items),
            "encoder_ms": statistics.median(self.encoder_ms),
            "prefill_ms": statistics.median(self.prefill_ms),
            "decode_ms": statistics.median(self.decode_ms) if self.decode_ms else None,
            "total_ms": statistics.median(self.total_ms),
            "encoder_gflops": self.encoder_gflops,
            "llm_tokens": self.llm_tokens,
            "kv_megabytes": self.kv_bytes / 1e6,
        }


def visual_cosine(run: Run, reference: Run) -> float:
    """Mean cosine similarity of the visual tokens of two runs."""
    assert run.visual_tokens is not None
    assert reference.visual_tokens is not None
    return float(F.cosine_similarity(run.visual_tokens, reference.visual_tokens, dim=-1).mean())


def compare(
    model: Any,
    processor: Any,
    inputs: Mapping[str, Any],
    variants: Sequence[Variant],
    *,
    max_new_tokens: int = 64,
    on_step: Callable[[], None] = lambda: None,
) -> list[Run]:
    """Run every variant on the same inputs, interleaved, after one warm-up each.

    Args:
        model: in eval mode, not compressed.
        processor: decodes the answer.
        inputs: what the processor made of one prompt, on the model's device.
        variants: the ways to run it.
        max_new_tokens: of the greedy answer.
        on_step: called after each of the `len(variants) * (REPETITIONS + 1)` runs.
    """
    runs = [Run() for _ in variants]
    for repetition in range(REPETITIONS + 1):
        for run, variant in zip(runs, variants, strict=True):
            if repetition == 0:
                with compress(model, variant.vision or UNCOMPRESSED, variant.language) as handle:
                    _inspect(model, processor, inputs, run, handle, max_new_tokens)
            else:
                with variant.applied(model):
                    _time(model, inputs, run, max_new_tokens)
            on_step()
    return runs


def _inspect(
    model: Any,
    processor: Any,
    inputs: Mapping[str, Any],
    run: Run,
    handle: CompressionHandle,
    max_new_tokens: int,
) -> None:
    """The warm-up: everything but the times."""
    encoder, language_model = adapter_for(model).encoder, model.get_decoder()
    encoder_calls: list[tuple[Any, Arguments]] = []
    decoder_calls: list[tuple[Any, Arguments]] = []
    with _recording(encoder, encoder_calls), _recording(language_model, decoder_calls):
        output = generate(model, inputs, max_new_tokens)
    new_tokens = output.sequences[0, inputs["input_ids"].shape[1] :]
    run.answer = processor.decode(new_tokens, skip_special_tokens=True).strip()
    run.new_tokens = len(new_tokens)
    prefill = decoder_calls[0][1]["inputs_embeds"]
    run.visual_tokens = prefill[_is_visual(model, inputs["input_ids"])].float().cpu()
    run.calls = list(handle.stats)
    prefills = handle.stats.prefills
    run.llm_tokens = prefills[-1].tokens_per_layer[-1] if prefills else inputs["input_ids"].numel()
    layers = [layer for layer in output.past_key_values.layers if hasattr(layer, "keys")]
    run.kv_bytes = sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)
    run.encoder_gflops = count_flops(lambda: [encoder(*a, **k) for a, k in encoder_calls]) / 1e9


def _time(model: Any, inputs: Mapping[str, Any], run: Run, max_new_tokens: int) -> None:
    encoder, language_model = adapter_for(model).encoder, model.get_decoder()
    with _stopwatch(encoder) as encoding, _stopwatch(language_model) as decoding:
        start = milliseconds()
        generate(model, inputs, max_new_tokens)
        run.total_ms.append(milliseconds() - start)
    run.encoder_ms.append(sum(encoding))
    run.prefill_ms.append(decoding[0])
    if len(decoding) > 1:
        run.decode_ms.append(statistics.mean(decoding[1:]))


def generate(model: Any, inputs: Mapping[str, Any], max_new_tokens: int) -> Any:
    """What `model.generate` returns for a greedy answer: `sequences` and `past_key_values`."""
    with torch.inference_mode():
        return model.generate(
            **inputs, max_new_tokens=max_new_tokens, do_sample=False, return_dict_in_generate=True
        )


def _is_visual(model: Any, input_ids: Tensor) -> Tensor:
    """Which positions of the prompt hold image or video tokens; bool, as `input_ids`."""
    names = ("image_token_id", "video_token_id", "image_token_index")
    ids = [getattr(model.config, name) for name in names if getattr(model.config, name, None)]
    return torch.isin(input_ids, torch.tensor(ids, device=input_ids.device))


@contextmanager
def _recording(module: nn.Module, calls: list[tuple[Any, Arguments]]) -> Iterator[None]:
    """Append the arguments of every call of `module`."""
    hook = module.register_forward_pre_hook(
        lambda _, args, kwargs: calls.append((args, kwargs)), with_kwargs=True
    )
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _stopwatch(module: nn.Module) -> Iterator[list[float]]:
    """The milliseconds of every call of `module`, the device's work included."""
    started: list[float] = []
    elapsed: list[float] = []
    before = module.register_forward_pre_hook(
        lambda *_: started.append(milliseconds()), prepend=True
    )
    after = module.register_forward_hook(lambda *_: elapsed.append(milliseconds() - started.pop()))
    try:
        yield elapsed
    finally:
        before.remove()
        after.remove()
