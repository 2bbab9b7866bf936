"""Shorter prompts: visual tokens that the language model does not get, and where the others are."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

import ipcv
from ipcv.baselines import DivPrune
from ipcv.core import ops
from tests.vllm.checkpoints import save_for_vllm
from tests.vllm.conftest import engine
from tests.vllm.scenes import MAX_TOKENS, Case, cases, model_and_processor
from tests.vllm.scenes import expected as all_expected
from tests.vllm.test_families import GLM, IMAGES, VIDEO, Served, prompt

COUNT = 16
KEEP = 0.35
LANGUAGE = DivPrune(1 - KEEP)
SETTINGS = {"reduction_ratio": 0, "keep_tokens": KEEP}


class Answer(NamedTuple):
    """What is generated, and its log-probability, which shows a token at a wrong place."""

    tokens: list[int]
    logprob: float


def in_vllm(llm: Any, requests: list[dict[str, Any]]) -> list[Answer]:
    from vllm import SamplingParams

    parameters = SamplingParams(temperature=0, max_tokens=MAX_TOKENS, logprobs=1)
    replies = [x.outputs[0] for x in llm.generate(requests, parameters, use_tqdm=False)]
    return [Answer(list(x.token_ids), x.cumulative_logprob) for x in replies]


@torch.inference_mode()
def in_transformers(model: Any, processor: Any, text: str, **media: Any) -> Answer:
    inputs = processor(text=[text], return_tensors="pt", **media)
    options = {"output_logits": True, "return_dict_in_generate": True, "do_sample": False}
    with ipcv.compress(model, language=LANGUAGE):
        output = model.generate(**inputs, max_new_tokens=MAX_TOKENS, **options)
    tokens = output.sequences[0, inputs["input_ids"].shape[1] :]
    chosen = torch.cat(output.logits).log_softmax(-1).gather(1, tokens[:, None])
    return Answer(tokens.tolist(), float(chosen.sum()))


def assert_same(answers: list[Answer], others: list[Answer]) -> None:
    assert [x.tokens for x in answers] == [x.tokens for x in others]
    assert [x.logprob for x in answers] == pytest.approx([x.logprob for x in others], abs=1e-4)


def request(case: Case) -> dict[str, Any]:
    return {"prompt": case.prompt, "multi_modal_data": case.media}


@cache
def references() -> list[Answer]:
    """One to three images of several sizes per prompt, and at the end a video."""
    answers = []
    for case in cases(COUNT):
        media: dict[str, Any] = {"images": list(case.images)}
        if case.video is not None:
            media = {"videos": [case.video], "do_sample_frames": False}
        answers.append(in_transformers(*model_and_processor(), case.prompt, **media))
    return answers


@pytest.fixture(scope="module")
def expected() -> list[Answer]:
    return references()


def test_answers_are_those_of_transformers(padded: Path, expected: list[Answer]) -> None:
    requests = [request(case) for case in cases(COUNT)]
    with engine(padded, SETTINGS) as llm:
        assert_same(in_vllm(llm, requests), expected)
        assert_same(in_vllm(llm, requests[::-1])[::-1], expected)  # prefixes, images are cached
        assert llm.reset_prefix_cache()
        for one, answer in list(zip(requests, expected, strict=True))[-4:]:
            assert_same(in_vllm(llm, [one]), [answer])


def test_chunks_of_a_prompt(padded: Path, expected: list[Answer]) -> None:
    """A step takes some tokens of an image and leaves the others to the next; nothing is cached."""
    requests = [request(case) for case in cases(COUNT)[-8:]]
    options = {"max_num_batched_tokens": 50, "enable_prefix_caching": False}
    with engine(padded, SETTINGS, **options) as llm:
        assert_same(in_vllm(llm, requests), expected[-8:])


def test_guessed_tokens(
    padded: Path, expected: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Speculative decoding with n-grams of the prompt.

    In a process of its own, in which vLLM 0.32 can start no other engine on a CPU afterwards.
    """
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    guess = {"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_max": 3}
    requests = [request(case) for case in cases(COUNT)[:6]]
    with engine(padded, SETTINGS, speculative_config=guess) as llm:
        assert_same(in_vllm(llm, requests), expected[:6])


@pytest.mark.slow
def test_compiled_language_model(
    padded: Path, expected: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Needs a C++ compiler."""
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    requests = [request(case) for case in cases(COUNT)]
    with engine(padded, SETTINGS, enforce_eager=False) as llm:
        assert_same(in_vllm(llm, requests), expected)


def test_behind_a_compressed_encoder(padded: Path) -> None:
    """Which of two equal patches it keeps, rounding decides: tokens are the same."""
    with engine(padded, SETTINGS | {"reduction_ratio": 0.65}) as llm:
        answers = in_vllm(llm, [request(case) for case in cases(COUNT)])
    reference = all_expected(COUNT, ipcv.Adaptive(0.65), LANGUAGE)
    assert [answer.tokens for answer in answers] == reference


def test_half_floats(padded: Path, expected: list[Answer]) -> None:
    """Which hold no large integers, as offsets are."""
    requests = [request(case) for case in cases(COUNT)[:8]]
    with engine(padded, SETTINGS, dtype="bfloat16") as llm:
        answers = in_vllm(llm, requests)
    for answer, other in zip(answers, expected, strict=False):
        assert answer.tokens == other.tokens
        assert answer.logprob == pytest.approx(other.logprob, abs=0.2)


def test_length_of_a_prompt(padded: Path) -> None:
    from vllm import SamplingParams

    (case, *_), processor = cases(COUNT), model_and_processor()[1]
    inputs = processor(text=[case.prompt], images=list(case.images))
    visual = sum(token == processor.image_token_id for token in inputs["input_ids"][0])
    text = len(inputs["input_ids"][0]) - visual
    with engine(padded, SETTINGS) as llm:
        (output,) = llm.generate([request(case)], SamplingParams(max_tokens=1), use_tqdm=False)
    assert len(output.prompt_token_ids) == text + ops.keep_count(visual, 1 - KEEP) < visual


@pytest.fixture(
    scope="module",
    params=["qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "glm4v", "glm_ocr", "internvl"],
)
def random(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """With random weights."""
    folder = tmp_path_factory.mktemp(request.param)
    model, processor = save_for_vllm(request.param, folder)
    with engine(folder, SETTINGS, enable_mm_embeds=True) as llm:
        yield Served(request.param, llm, model, processor)


def two_images(random: Served) -> tuple[dict[str, Any], Answer]:
    text = prompt(random, images=2)
    answer = in_transformers(random.model, random.processor, text, images=IMAGES[:2])
    return {"prompt": text, "multi_modal_data": {"image": IMAGES[:2]}}, answer


def test_images_of_another_family(random: Served) -> None:
    asked, answer = two_images(random)
    for _ in range(2):  # then of a cached prefix
        assert_same(in_vllm(random.llm, [asked]), [answer])


@pytest.mark.slow
def test_compiled_language_model_of_another_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which vLLM compiles for positions of either shape. Needs a C++ compiler."""
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    model, processor = save_for_vllm("internvl", tmp_path)
    with engine(tmp_path, SETTINGS, enforce_eager=False) as llm:
        asked, answer = two_images(Served("internvl", llm, model, processor))
        assert_same(in_vllm(llm, [asked]), [answer])


@pytest.mark.parametrize("name", ["qwen3_vl", "internvl"])
def test_chunks_of_a_prompt_of_another_family(tmp_path: Path, name: str) -> None:
    model, processor = save_for_vllm(name, tmp_path)
    options = {"max_num_batched_tokens": 12, "enable_prefix_caching": False}
    with engine(tmp_path, SETTINGS, **options) as llm:
        served = Served(name, llm, model, processor)
        asked, answer = two_images(served)
        assert len(asked["prompt"]) > 12
        assert_same(in_vllm(llm, [asked]), [answer])


def test_text_alone_where_positions_are_given_gaps(tmp_path: Path) -> None:
    """Also without an encoder."""
    from vllm import SamplingParams

    model, processor = save_for_vllm("internvl", tmp_path)
    inputs = processor(text=["Hello"], return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=MAX_TOKENS, do_sample=False)[0]
    expected = output[inputs["input_ids"].shape[1] :].tolist()
    parameters = SamplingParams(temperature=0, max_tokens=MAX_TOKENS)
    for limits in ({"image": 1, "video": 1}, {"image": 0, "video": 0}):
        with engine(tmp_path, SETTINGS, limit_mm_per_prompt=limits) as llm:
            (reply,) = llm.generate(["Hello"], parameters, use_tqdm=False)
        assert list(reply.outputs[0].token_ids) == expected


def test_images_that_are_encoded_already(random: Served) -> None:
    """Of InternVL's the tiles are not known; the request ends, and the engine does not."""
    if random.name != "internvl":
        return
    asked, answer = two_images(random)
    embeds = torch.zeros(1, 16, random.model.config.text_config.hidden_size)
    encoded = {"prompt": prompt(random, images=1), "multi_modal_data": {"image": embeds}}
    with pytest.raises(ValueError, match="needs images themselves"):
        in_vllm(random.llm, [encoded])
    assert_same(in_vllm(random.llm, [asked]), [answer])


def test_time_in_a_video(random: Served) -> None:
    """Beside an image, where `transformers` can.

    At other rates stock vLLM 0.32 and `transformers` differ about the time.
    """
    metadata = {
        "fps": 2.0,
        "duration": len(VIDEO) / 2,
        "total_num_frames": len(VIDEO),
        "frames_indices": list(range(len(VIDEO))),
        "video_backend": "opencv",
    }
    images = [] if random.name in GLM else IMAGES[:1]
    text = prompt(random, images=len(images), videos=1)
    media = {"image": images, "video": (VIDEO, metadata | {"do_sample_frames": False})}
    answers = in_vllm(random.llm, [{"prompt": text, "multi_modal_data": media}])
    given = {"images": images or None, "videos": [VIDEO], "video_metadata": [metadata]}
    reference = in_transformers(
        random.model, random.processor, text, **given, do_sample_frames=False
    )
    assert_same(answers, [reference])
