"""What a server counts where prompts are shorter."""

from collections.abc import Iterator
from math import ceil
from pathlib import Path

import pytest

from ipcv.core import ops
from tests.vllm.scenes import Case, cases, model_and_processor
from tests.vllm.servers import Server, content_of, serve
from tests.vllm.test_shorter import COUNT, KEEP

BLOCK, BLOCKS, NEW_TOKENS = 32, 128, 400

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(padded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("server") / "log"
    flags = (f"--block-size={BLOCK}", f"--num-gpu-blocks-override={BLOCKS}")
    with serve(padded, log, f"--keep-tokens={KEEP}", flags=flags) as running:
        yield running


def lengths(case: Case) -> tuple[int, int]:
    """Tokens of a prompt as `transformers` has it, and of the shorter one."""
    processor = model_and_processor()[1]
    inputs = processor(text=[case.prompt], images=list(case.images), return_tensors="pt")
    visual = (inputs["image_grid_thw"].prod(dim=1) // 4).tolist()
    full = inputs["input_ids"].shape[1]
    return full, full - sum(n - ops.keep_count(n, 1 - KEEP) for n in visual)


def test_prompt_tokens(server: Server) -> None:
    asked = [case for case in cases(COUNT) if case.images]
    assert {len(case.images) for case in asked} == {1, 2, 3}
    before = server.metric("vllm:prompt_tokens_total")
    counted = [server.complete(content_of(case)).usage.prompt_tokens for case in asked]
    full, shorter = zip(*map(lengths, asked), strict=True)
    assert counted == list(shorter)
    assert server.metric("vllm:prompt_tokens_total") - before == sum(shorter) < sum(full) / 2


def test_kv_cache(server: Server) -> None:
    """Blocks in use while an answer is generated."""
    case = Case((*cases(COUNT)[0].images * 4,), "What is it?")
    full, shorter = lengths(case)
    stream = server.complete(
        content_of(case), NEW_TOKENS, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    used = server.metric("vllm:kv_cache_usage_perc") * (BLOCKS - 1)  # one is never used
    stream.close()
    longest = shorter + NEW_TOKENS
    assert ceil(shorter / BLOCK) <= round(used) <= ceil(longest / BLOCK) < full // BLOCK
