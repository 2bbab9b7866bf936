"""The embedded model in vLLM, in this process."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import ipcv
from ipcv.inputs.loading import load
from tests.vllm.conftest import engine, on_model
from tests.vllm.scenes import MAX_TOKENS, Case, cases, expected, model_and_processor

COUNT = 50
ADAPTIVE = ipcv.Adaptive(0.65)


def ask(llm: Any, asked: tuple[Case, ...], logprobs: int | None = None) -> list[Any]:
    from vllm import SamplingParams

    requests = [
        {"prompt": case.prompt} | ({"multi_modal_data": case.media} if any(case.media) else {})
        for case in asked
    ]
    parameters = SamplingParams(temperature=0, max_tokens=MAX_TOKENS, logprobs=logprobs)
    outputs = llm.generate(requests, parameters, use_tqdm=False)
    return [output.outputs[0] for output in outputs]


def tokens(outputs: list[Any]) -> list[list[int]]:
    return [list(output.token_ids) for output in outputs]


def test_padding_is_exact(padded: Path) -> None:
    """The checkpoint that is served gives the logits of the embedded one."""
    (model, processor), other = model_and_processor(), load(padded, device="cpu")[0]
    for case in cases(COUNT)[:3]:
        inputs = processor(text=[case.prompt], images=list(case.images), return_tensors="pt")
        with torch.inference_mode():
            torch.testing.assert_close(
                other(**inputs).logits, model(**inputs).logits, rtol=0, atol=1e-4
            )


def test_off_and_nothing_removed(padded: Path) -> None:
    few = cases(COUNT)[:10]
    with engine(padded) as llm:
        plain = ask(llm, few, logprobs=1)
    assert tokens(plain) == expected(COUNT)[:10]
    with engine(padded, {"reduction_ratio": 0}) as llm:
        compressed = ask(llm, few, logprobs=1)
    assert tokens(compressed) == tokens(plain)
    assert [x.cumulative_logprob for x in compressed] == [x.cumulative_logprob for x in plain]


def test_answers_are_those_of_transformers(padded: Path) -> None:
    """At a ratio that changes some of them."""
    with engine(padded, {"reduction_ratio": 0.8}) as llm:
        together = tokens(ask(llm, cases(COUNT)))
        again = tokens(ask(llm, cases(COUNT)[::-1]))[::-1]  # prefixes and images are cached now
        assert llm.reset_prefix_cache()
        alone = [tokens(ask(llm, (case,)))[0] for case in cases(COUNT)[-8:]]
    assert together == expected(COUNT, ipcv.Adaptive(0.8))
    assert together != expected(COUNT)
    assert again == together
    assert alone == together[-8:]


def lora_of(padded: Path, folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """An adapter for all attention outputs of the language model, and what it adds to weights."""
    generator, tensors, added = torch.Generator().manual_seed(1), {}, {}
    for layer in range(5):
        name = f"model.layers.{layer}.self_attn.o_proj"
        a, b = (torch.randn(*shape, generator=generator) for shape in ((8, 256), (256, 8)))
        b[160:] = 0  # what is padding stays zero
        tensors |= {f"base_model.model.{name}.lora_A.weight": a * 0.2}
        tensors |= {f"base_model.model.{name}.lora_B.weight": b * 0.2}
        added[name.removeprefix("model.")] = (b * 0.2) @ (a * 0.2)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"r": 8, "lora_alpha": 8, "target_modules": ["o_proj"], "peft_type": "LORA"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder, added


def test_lora_on_the_language_model(padded: Path, tmp_path: Path) -> None:
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest

    folder, added = lora_of(padded, tmp_path / "lora")
    model, processor = load(padded, device="cpu")
    for name, change in added.items():
        model.get_decoder().get_submodule(name).weight.data += change
    asked = [case for case in cases(COUNT) if case.video is None][:6]
    expected_tokens = []
    with torch.inference_mode(), ipcv.compress(model, ADAPTIVE):
        for case in asked:
            inputs = processor(text=[case.prompt], images=list(case.images), return_tensors="pt")
            output = model.generate(**inputs, max_new_tokens=MAX_TOKENS, do_sample=False)
            expected_tokens.append(output[0, inputs["input_ids"].shape[1] :].tolist())
    requests = [{"prompt": case.prompt, "multi_modal_data": case.media} for case in asked]
    with engine(padded, {"reduction_ratio": 0.65}, enable_lora=True, max_lora_rank=8) as llm:
        outputs = llm.generate(
            requests,
            SamplingParams(temperature=0, max_tokens=MAX_TOKENS),
            use_tqdm=False,
            lora_request=LoRARequest("lora", 1, str(folder)),
        )
        got = tokens([output.outputs[0] for output in outputs])
        without = tokens(ask(llm, tuple(asked)))
    assert got == expected_tokens
    assert got != without


def test_language_model_only(padded: Path) -> None:
    """Where vLLM leaves the encoder out there is nothing to compress, and text is served."""
    limits = {"image": 0, "video": 0}
    with engine(padded, {"reduction_ratio": 0.65}, limit_mm_per_prompt=limits) as llm:
        assert on_model(llm, lambda model: model.ipcv) is None
        assert ask(llm, (Case((), "What is it?"),))[0].token_ids
