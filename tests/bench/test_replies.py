"""Servers that say nonsense, too much, too little or nothing end in one error that names them."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ipcv.bench import replies
from ipcv.bench.servers import Request, compare_servers

pytest.importorskip("openai")

MODELS = json.dumps({"data": [{"id": "stub"}]}).encode()
CHUNK = json.dumps({"choices": [{"index": 0, "delta": {"content": "red"}}]}).encode()
ANSWER = b"data: " + CHUNK + b"\n\ndata: [DONE]\n\n"

Say = Callable[[Callable[[bytes], object]], None]


def says(content: bytes) -> Say:
    return lambda write: write(content) and None


def endless(line: bytes) -> Say:
    def say(write: Callable[[bytes], object]) -> None:
        while True:
            write(line)

    return say


def slow(write: Callable[[bytes], object]) -> None:
    for _ in range(100):
        write(b": still here\n\n")
        time.sleep(0.1)


def silent(_: object) -> None:
    time.sleep(5)


@pytest.fixture
def serve() -> Iterator[Callable[[Say, Say], str]]:
    """Starts a server that lists models and answers so; its URL."""
    started = []

    def start(models: Say, answer: Say, status: int = 200) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._say(models)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self._say(answer)

            def _say(self, say: Say) -> None:
                self.send_response(status)
                self.end_headers()
                try:
                    say(self.wfile.write)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return f"http://127.0.0.1:{server.server_port}/v1"

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(replies, "REPLY_SECONDS", 1)


PROMPTS = [Request(("data:image/png;base64,",), "red?", "red")] * 2


def ask(url: str) -> str:
    return compare_servers(url, url, PROMPTS, concurrency=1).compressed.replies[0].text


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (says(b'{"error": "too long"}'), "too long"),
        (says(b""), "500"),
        (endless(b"x" * 4096), "more"),
    ],
)
def test_an_error(serve: Callable[..., str], body: Say, why: str) -> None:
    url = serve(body, body, status=500)
    with pytest.raises(ValueError, match=f"no answer from {url}/: .*{why}"):
        ask(url)


@pytest.mark.parametrize(
    "url", ["nonsense", "http://", "http://[::1", "http://127.0.0.1:99999", "file:///dev/zero"]
)
def test_what_is_no_server(url: str) -> None:
    with pytest.raises(ValueError, match="is no URL of a server, such as http"):
        ask(url)


def test_an_answer(serve: Callable[[Say, Say], str]) -> None:
    assert ask(serve(says(MODELS), says(ANSWER))) == "red"


@pytest.mark.parametrize(
    "models",
    [
        says(b"<html>"),
        says(b""),
        says(b"[]"),
        says(b'{"data": []}'),
        says(b'{"data": [3]}'),
        endless(b"x" * 4096),
        silent,
        slow,
    ],
)
def test_models_that_are_none(serve: Callable[[Say, Say], str], models: Say) -> None:
    url = serve(models, says(ANSWER))
    with pytest.raises(ValueError, match=f"no answer from {url}"):
        ask(url)


@pytest.mark.parametrize(
    "answer",
    [
        says(b""),
        says(b"data: " + CHUNK + b"\n\n"),
        says(b"data: {\n\n"),
        says(b"data: 3\n\n"),
        says(b'data: {"choices": 3}\n\n'),
        says(b'data: {"choices": [{"delta": "red"}]}\n\n'),
        says(b'data: {"error": "out of luck"}\n\n'),
        endless(b"data: " + b"x" * 4096),
        endless(b"data: " + CHUNK + b"\n\n"),
        silent,
        slow,
    ],
)
def test_answers_that_are_none(serve: Callable[[Say, Say], str], answer: Say) -> None:
    url = serve(says(MODELS), answer)
    with pytest.raises(ValueError, match=f"no answer from {url}"):
        ask(url)
