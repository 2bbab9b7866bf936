"""With vLLM's own pruning (EVS), which picks some of the compressed encoder's visual tokens."""

from pathlib import Path
from typing import Any

import pytest
import torch

import ipcv
from tests.vllm.checkpoints import save_for_vllm
from tests.vllm.conftest import engine
from tests.vllm.test_families import (
    IMAGES,
    NEW_TOKENS,
    SETTINGS,
    VIDEO,
    VISION,
    Served,
    embedded,
    inputs,
    noise,
)

EVS = {"video_pruning_rate": 0.5, "worker_cls": "tests.vllm.workers.VideoPruning"}
METADATA = {
    "fps": 2.0,
    "duration": 2.0,
    "total_num_frames": 4,
    "frames_indices": [0, 1, 2, 3],
    "video_backend": "opencv",
    "do_sample_frames": False,
}
VISION_PROMPT = "<|vision_start|><|{}_pad|><|vision_end|>Hello"
REQUESTS: list[dict[str, Any]] = [
    *(
        {
            "prompt": VISION_PROMPT.format("video"),
            "multi_modal_data": {"video": (video, METADATA)},
        }
        for video in (VIDEO, noise(4, 40, 64))
    ),
    {"prompt": VISION_PROMPT.format("image"), "multi_modal_data": {"image": IMAGES[0]}},
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    folder = tmp_path_factory.mktemp("qwen2_5_vl")
    return folder, *save_for_vllm("qwen2_5_vl", folder)


def test_visual_tokens(checkpoint: tuple[Path, Any, Any]) -> None:
    folder, model, processor = checkpoint
    video = processor.video_processor(videos=[VIDEO], do_sample_frames=False, return_tensors="pt")
    with engine(folder, SETTINGS, **EVS) as llm:
        served = Served("qwen2_5_vl", llm, model, processor)
        (pruned,) = embedded(served, inputs(served, video=[(VIDEO, METADATA)]))
    with torch.inference_mode(), ipcv.compress(model, VISION):
        tokens = torch.cat(list(model.get_video_features(**video).pooler_output))
    pruned = pruned[:, : tokens.shape[1]]  # behind them are positions
    assert len(pruned) == len(tokens) // 2
    nearest = torch.cdist(pruned, tokens).argmin(dim=1)
    torch.testing.assert_close(pruned, tokens[nearest], rtol=1e-4, atol=1e-5)


def test_answers(checkpoint: tuple[Path, Any, Any]) -> None:
    """Ratio 0 is bitwise the same, and no request depends on another."""
    folder = checkpoint[0]
    results = []
    for settings in (None, SETTINGS | {"reduction_ratio": 0}, SETTINGS):
        with engine(folder, settings, enable_prefix_caching=False, **EVS) as llm:
            results.append(ask(llm, REQUESTS))
            for request, (length, tokens, _) in zip(REQUESTS, results[-1], strict=True):
                assert ask(llm, [request])[0][:2] == (length, tokens)
    plain, nothing_removed, compressed = results
    assert nothing_removed == plain
    assert [length for length, *_ in compressed] == [length for length, *_ in plain]
    assert [x[2] for x in compressed[:2]] != [x[2] for x in plain[:2]]


def ask(llm: Any, requests: list[dict[str, Any]]) -> list[tuple[int, list[int], float]]:
    """Length of the prompt, tokens of the answer, and their log-probability."""
    from vllm import SamplingParams

    parameters = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, logprobs=1)
    replies = [
        (len(output.prompt_token_ids), output.outputs[0])
        for output in llm.generate(requests, parameters, use_tqdm=False)
    ]
    return [(n, list(reply.token_ids), reply.cumulative_logprob) for n, reply in replies]
