"""Shorter prompts: visual tokens that the language model does not get, and where the others are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import ipcv
from ipcv.baselines import DivPrune
from ipcv.core import ops
from tests.checkpoints import save_for_vllm
from tests.vllm.conftest import engine
from tests.vllm.scenes import cases, expected, model_and_processor
from tests.vllm.test_families import IMAGES, NEW_TOKENS, VIDEO, Served, answers, prompt
from tests.vllm.test_offline import COUNT, ask, tokens

KEEP = 0.35
VISION, LANGUAGE = ipcv.Adaptive(0.65), DivPrune(1 - KEEP)
SETTINGS = {"reduction_ratio": 0.65, "keep_tokens": KEEP}


def test_answers_are_those_of_transformers(padded: Path) -> None:
    asked, wanted = cases(COUNT), expected(COUNT, VISION, LANGUAGE)
    with engine(padded, SETTINGS) as llm:
        together = tokens(ask(llm, asked))
        again = tokens(ask(llm, asked[::-1]))[::-1]  # prefixes and images are cached now
        assert llm.reset_prefix_cache()
        alone = [tokens(ask(llm, (case,)))[0] for case in asked[-8:]]
    assert together == wanted
    assert together != expected(COUNT, VISION)
    assert again == together
    assert alone == together[-8:]


def test_chunks_of_a_prompt(padded: Path) -> None:
    """A step takes some tokens of an image and leaves the others to the next; nothing is cached."""
    asked = cases(COUNT)[-8:]
    options = {"max_num_batched_tokens": 50, "enable_prefix_caching": False}
    with engine(padded, SETTINGS, **options) as llm:
        assert tokens(ask(llm, asked)) == expected(COUNT, VISION, LANGUAGE)[-8:]


def test_length_of_a_prompt(padded: Path) -> None:
    from vllm import SamplingParams

    (case, *_), processor = cases(COUNT), model_and_processor()[1]
    inputs = processor(text=[case.prompt], images=list(case.images))
    visual = sum(token == processor.image_token_id for token in inputs["input_ids"][0])
    with engine(padded, SETTINGS) as llm:
        request = {"prompt": case.prompt, "multi_modal_data": case.media}
        (output,) = llm.generate([request], SamplingParams(max_tokens=1), use_tqdm=False)
    text = len(inputs["input_ids"][0]) - visual
    assert len(output.prompt_token_ids) == text + ops.keep_count(visual, 1 - KEEP) < visual


@pytest.fixture(scope="module")
def random(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Qwen2.5-VL with random weights."""
    folder = tmp_path_factory.mktemp("qwen2_5_vl")
    model, processor = save_for_vllm("qwen2_5_vl", folder)
    with engine(folder, SETTINGS) as llm:
        yield Served("qwen2_5_vl", llm, model, processor)


def in_transformers(served: Served, text: str, **media: Any) -> list[int]:
    inputs = served.processor(text=[text], return_tensors="pt", **media)
    with torch.inference_mode(), ipcv.compress(served.model, VISION, LANGUAGE):
        output = served.model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
    return output[0, inputs["input_ids"].shape[1] :].tolist()


def test_images_of_another_family(random: Served) -> None:
    two = prompt(random, images=2)
    request = {"prompt": two, "multi_modal_data": {"image": IMAGES[:2]}}
    assert answers(random, [request]) == [in_transformers(random, two, images=IMAGES[:2])]


@pytest.mark.parametrize("fps", [2.0, 0.5])
def test_time_in_a_video(random: Served, fps: float) -> None:
    """Beside an image; frames of a slow video are farther from each other."""
    metadata = {
        "fps": fps,
        "duration": len(VIDEO) / fps,
        "total_num_frames": len(VIDEO),
        "frames_indices": list(range(len(VIDEO))),
        "video_backend": "opencv",
    }
    both = prompt(random, images=1, videos=1)
    video = VIDEO, metadata | {"do_sample_frames": False}
    media = {"image": IMAGES[0], "video": video}
    expected_tokens = in_transformers(
        random,
        both,
        images=IMAGES[:1],
        videos=[VIDEO],
        video_metadata=[metadata],
        do_sample_frames=False,
    )
    got = answers(random, [{"prompt": both, "multi_modal_data": media}])
    assert got == [expected_tokens]
