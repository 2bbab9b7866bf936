"""The answer of a model to one prompt, run in one way or another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ipcv.bench.clock import metered, recording
from ipcv.bench.generation import generate
from ipcv.bench.variants import Variant
from ipcv.core.arguments import Arguments
from ipcv.families import adapter_for
from ipcv.vision.records import EncoderCall


@dataclass(frozen=True)
class Answer:
    """A variant on one prompt.

    Attributes:
        answer: the decoded new tokens.
        new_tokens: how many were generated.
        visual_tokens: `(T, C)` fp32 on the CPU, as handed to the language model.
        calls: what the encoder did, per call and item.
        logits: `(V,)` fp32 on the CPU, of the first new token.
        encoder_ms: milliseconds in the vision encoder, measured once.
    """

    answer: str
    new_tokens: int
    visual_tokens: Tensor
    calls: list[EncoderCall]
    logits: Tensor
    encoder_ms: float


def visual_cosine(run: Answer, reference: Answer) -> float:
    """Mean cosine similarity of the visual tokens of two runs."""
    return float(F.cosine_similarity(run.visual_tokens, reference.visual_tokens, dim=-1).mean())


def answer(
    model: Any, processor: Any, inputs: Arguments, variant: Variant, max_new_tokens: int
) -> Answer:
    """What a variant answers to one prompt, greedily, and what its language model was handed.

    Args:
        model: in eval mode, not compressed.
        processor: decodes the answer.
        inputs: what the processor made of one prompt, on the model's device.
        variant: the way to run it.
        max_new_tokens: of the greedy answer.
    """
    encoder, language_model = adapter_for(model).encoder, model.get_decoder()
    with (
        variant.counted(model) as handle,
        recording(language_model) as prefills,
        metered(encoder) as encoding,
    ):
        output = generate(model, inputs, max_new_tokens)
    new_tokens = output.sequences[0, inputs["input_ids"].shape[1] :]
    states = prefills[0]["inputs_embeds"]
    return Answer(
        answer=processor.decode(new_tokens, skip_special_tokens=True).strip(),
        new_tokens=len(new_tokens),
        visual_tokens=states[_is_visual(model, inputs["input_ids"])].float().cpu(),
        calls=list(handle.stats),
        logits=output.logits[0][0].float().cpu(),
        encoder_ms=sum(encoding),
    )


def _is_visual(model: Any, input_ids: Tensor) -> Tensor:
    """Which positions of the prompt hold image or video tokens; bool, as `input_ids`."""
    names = ("image_token_id", "video_token_id", "image_token_index")
    ids = [getattr(model.config, name) for name in names if getattr(model.config, name, None)]
    return torch.isin(input_ids, torch.tensor(ids, device=input_ids.device))
