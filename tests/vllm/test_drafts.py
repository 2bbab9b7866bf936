"""Speculative decoding by a draft model, which knows nothing of images."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from tests.vllm.checkpoints import TEXT, save_for_vllm
from tests.vllm.conftest import engine
from tests.vllm.test_families import IMAGES

TOKENS = 12
IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
REQUESTS = [
    {"prompt": IMAGE + text, "multi_modal_data": {"image": image}}
    for text, image in zip(("Hello", "What is it?", "Yes"), IMAGES, strict=False)
]

pytestmark = pytest.mark.slow


def save_draft(processor: Any, model: Any, folder: Path) -> None:
    torch.manual_seed(0)
    text = model.config.text_config
    config = Qwen2Config(
        **TEXT,
        vocab_size=text.vocab_size,
        intermediate_size=64,
        num_hidden_layers=1,
        eos_token_id=text.eos_token_id,
        bos_token_id=None,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    processor.tokenizer.save_pretrained(folder)


def answers(model: Path, **options: Any) -> list[list[int]]:
    from vllm import SamplingParams

    parameters = SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True)
    with engine(model, {}, **options) as llm:
        outputs = llm.generate(REQUESTS, parameters, use_tqdm=False)
    return [list(output.outputs[0].token_ids) for output in outputs]


def test_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With Qwen2.5-VL: stock vLLM 0.32 takes no draft model for Qwen2-VL."""
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")  # see test_shorter
    model, processor = save_for_vllm("qwen2_5_vl", tmp_path / "model")
    save_draft(processor, model, tmp_path / "draft")
    guess = {"method": "draft_model", "model": str(tmp_path / "draft"), "num_speculative_tokens": 2}
    plain = answers(tmp_path / "model")
    assert answers(tmp_path / "model", speculative_config=guess) == plain
    assert len({tuple(answer) for answer in plain}) == len(REQUESTS)
