"""`ipcv serve` with its workers in processes of their own: load, faults, memory."""

import json
import signal
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from ipcv.api import compress
from ipcv.bench.quality.suite import ask, held_out_scenes
from ipcv.language import LanguageMethod
from tests.vllm.scenes import Case, cases, expected, model_and_processor
from tests.vllm.servers import Server, image_part, serve, url_part
from tests.vllm.test_offline import ADAPTIVE, COUNT

SOAK = 500


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
    before = server.metric("ipcv:encoder_patches_total"), server.metric("ipcv:encoder_patches_kept")
    image = cases(COUNT)[0].images[0].rotate(90)  # not in a cache
    server.ask(Case((image,), "What number is written?"))
    after = server.metric("ipcv:encoder_patches_total"), server.metric("ipcv:encoder_patches_kept")
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


def png_of(width: int, height: int) -> bytes:
    """A small file that claims to be that large."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "part",
    [
        url_part("image/png", b"no image"),
        url_part("image/png", png_of(60_000, 60_000)),
        url_part("image/png", png_of(4_000, 1)),
    ],
    ids=["broken", "bomb", "stripe"],
)
def test_bad_image_harms_nobody_else(server: Server, part: dict[str, Any]) -> None:
    (case, text), *_ = answers()
    with pytest.raises(openai.APIStatusError) as caught:
        server.complete([part, {"type": "text", "text": "What is it?"}])
    assert caught.value.status_code in (400, 500)  # vLLM calls a bomb its own error
    assert server.ask(case) == text


def test_disconnect(server: Server) -> None:
    asked = answers(8)
    host, port = server.url.removeprefix("http://").split(":")
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    for case, _ in asked[:4]:
        content = [*map(image_part, case.images), {"type": "text", "text": case.question}]
        messages = [{"role": "user", "content": content}]
        body = json.dumps({"model": "tiny", "messages": messages}).encode()
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert server.ask_together([c for c, _ in asked], 4) == [t for _, t in asked]


def test_soak(server: Server) -> None:
    """No growth of memory over many requests, of which every image is new to the caches."""

    def resident() -> float:
        return sum(p.memory_info().rss for p in server.children()) / 2**20

    def load(first: int, count: int) -> None:
        base = cases(COUNT)[0].images[0]
        shifted = [base.crop((0, 0, 112, 112)) for _ in range(count)]
        for number, image in enumerate(shifted, start=first):
            image.putpixel((number % 112, number // 112), (1, 2, 3))
        server.ask_together([Case((x,), "What number is written?") for x in shifted], 8)

    load(0, SOAK // 2)
    before = resident()
    load(SOAK // 2, SOAK // 2)
    assert resident() - before < 100


@pytest.mark.slow
def test_end_under_load(padded: Path, tmp_path: Path) -> None:
    """After SIGTERM what runs or waits is finished, and nothing new is taken."""
    asked = answers(24)
    with serve(padded, tmp_path / "log", flags=("--shutdown-timeout=120",)) as running:
        with ThreadPoolExecutor(len(asked)) as pool:
            waiting = [pool.submit(running.ask, case) for case, _ in asked]
            while running.metric("vllm:request_success_total") < 1:
                time.sleep(0.1)
            running.process.send_signal(signal.SIGTERM)
            assert [future.result(120) for future in waiting] == [text for _, text in asked]
        assert running.process.wait(60) == 0
        with pytest.raises(openai.APIConnectionError):
            running.ask(asked[0][0])


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
