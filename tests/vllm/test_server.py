"""`ipcv serve` with its workers in processes of their own: load, faults, memory."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from ipcv.api import compress
from ipcv.bench.quality.suite import ask, held_out_scenes
from ipcv.language import LanguageMethod
from tests.vllm.faults import BAD_IMAGES, go_away
from tests.vllm.scenes import Case, cases, expected, model_and_processor
from tests.vllm.servers import Server, content_of, serve
from tests.vllm.test_offline import ADAPTIVE, COUNT

COUNTS = "vllm:request_success_total", "vllm:num_requests_running", "vllm:num_requests_waiting"


@pytest.fixture(scope="module")
def server(padded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("server") / "log"
    with serve(padded, log, "--reduction-ratio", "0.65") as running:
        yield running


def answers(count: int = COUNT, language: LanguageMethod | None = None) -> list[tuple[Case, str]]:
    """Prompts with images, and what compressed `transformers` answers."""
    processor = model_and_processor()[1]
    replies = expected(COUNT, ADAPTIVE, language)
    texts = [processor.decode(tokens, skip_special_tokens=True) for tokens in replies]
    return [(c, t) for c, t in zip(cases(COUNT), texts, strict=True) if c.video is None][:count]


def test_log(server: Server) -> None:
    text = server.log.read_text()
    assert text.count("IPCV configured: Settings(vision=Adaptive(reduction_ratio=0.65")
    assert text.count("IPCV active: Adaptive(reduction_ratio=0.65") == 1
    assert "attention: sdpa" in text


def test_sixteen_clients(server: Server) -> None:
    asked = answers()
    assert server.ask_together([case for case, _ in asked], 16) == [text for _, text in asked]


def test_metrics(server: Server) -> None:
    names = "ipcv:encoder_patches_total", "ipcv:encoder_patches_kept_total"
    before = server.metrics(*names)
    image = cases(COUNT)[0].images[0].rotate(90)  # not in a cache
    server.ask(Case((image,), "What number is written?"))
    after = server.metrics(*names)
    assert after[0] - before[0] == 1024
    assert after[1] - before[1] == pytest.approx(1024 * 0.35, abs=2)


def test_accuracy_is_that_of_transformers(server: Server) -> None:
    scenes = list(held_out_scenes(60))
    (model, processor), right = model_and_processor(), []
    with compress(model, ADAPTIVE):
        for scene in scenes:
            texts = ask(model, processor, scene.frames, [q.text for q in scene.questions])
            right += [t == q.answer for t, q in zip(texts, scene.questions, strict=True)]
    asked = [(Case((s.image,), q.text), q.answer) for s in scenes for q in s.questions]
    got = server.ask_together([case for case, _ in asked], 8)
    served = [text.strip() == answer for text, (_, answer) in zip(got, asked, strict=True)]
    assert sum(right) > 45
    assert abs(sum(served) - sum(right)) <= 1


@pytest.mark.parametrize("part", BAD_IMAGES, ids=["broken", "bomb", "stripe"])
def test_bad_image_harms_nobody_else(server: Server, part: dict[str, Any]) -> None:
    (case, text), *_ = answers()
    with pytest.raises(openai.APIStatusError) as caught:
        server.complete([part, {"type": "text", "text": "What is it?"}])
    assert caught.value.status_code in (400, 500)  # vLLM calls a bomb its own error
    assert server.ask(case) == text


def test_disconnect(server: Server) -> None:
    asked = answers(8)
    for case, _ in asked[:4]:
        go_away(server, content_of(case))
    assert server.ask_together([c for c, _ in asked], 4) == [t for _, t in asked]


@pytest.mark.slow
def test_end_under_load(padded: Path, tmp_path: Path) -> None:
    """After SIGTERM what runs or waits is finished, and nothing new is taken."""
    asked, length = answers(24), 1000
    with serve(padded, tmp_path / "log", flags=("--shutdown-timeout=120",)) as running:

        def complete(case: Case) -> Any:
            return running.complete(content_of(case), length, extra_body={"ignore_eos": True})

        with ThreadPoolExecutor(len(asked)) as pool:
            waiting = [pool.submit(complete, case) for case, _ in asked]
            counts = [0.0]
            while sum(counts) < len(asked):  # images still being read are refused
                counts = running.metrics(*COUNTS)
            assert counts[0] < len(asked)
            running.process.send_signal(signal.SIGTERM)
            replies = [future.result(120) for future in waiting]
        assert all(reply.usage.completion_tokens == length for reply in replies)
        for reply, (_, text) in zip(replies, asked, strict=True):
            assert reply.choices[0].message.content.startswith(text)
        assert running.process.wait(60) == 0
        with pytest.raises(openai.APIConnectionError):
            running.ask(asked[0][0])


@pytest.mark.soak
def test_killed_worker(server: Server) -> None:
    """Whoever waits gets an error and no wrong answer; the server stops instead of hanging."""
    worker = next(p for p in server.children() if "EngineCore" in " ".join(p.cmdline()))
    asked = answers(8)
    with ThreadPoolExecutor(len(asked)) as pool:
        waiting = [pool.submit(server.ask, case) for case, _ in asked]
        worker.kill()
        failed = [future.exception(60) for future in waiting]
    assert any(failed)
    for error, future, (_, text) in zip(failed, waiting, asked, strict=True):
        assert isinstance(error, openai.APIError) if error else future.result() == text
    server.process.wait(60)  # with a status of its own choice
