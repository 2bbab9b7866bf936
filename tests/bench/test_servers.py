"""Against servers in this process that say what they are told to."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ipcv.bench.servers import Request, compare_servers, suite_prompts

pytest.importorskip("openai")

SECONDS = 0.4
"""Until the slow server answers, which the quick one never takes."""


class Stub(ThreadingHTTPServer):
    """Answers with the last word of the question, or always with a text, after a while."""

    def __init__(self, seconds: float, text: str | None = None, length: int = 20) -> None:
        self.seconds, self.text, self.length = seconds, text, length
        self.busy = self.most = 0
        self.asked: list[str] = []
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Stub

    def do_GET(self) -> None:
        self._reply("application/json", json.dumps({"data": [{"id": "stub"}]}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        *images, text = body["messages"][0]["content"]
        assert body["model"] == "stub"
        assert all(part["image_url"]["url"].startswith("data:image/png") for part in images)
        with self.server.lock:
            self.server.asked.append(text["text"])
            self.server.busy += 1
            self.server.most = max(self.server.most, self.server.busy)
        time.sleep(self.server.seconds)
        with self.server.lock:
            self.server.busy -= 1
        answer = self.server.text or text["text"].split()[-1]
        pieces = [answer[:1], answer[1:], None]
        chunks = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
        if body["stream_options"]["include_usage"] and self.server.length:
            chunks.append({"choices": [], "usage": {"prompt_tokens": self.server.length}})
        lines = [*map(json.dumps, chunks), "[DONE]"]
        self._reply("text/event-stream", "".join(f"data: {line}\n\n" for line in lines))

    def _reply(self, kind: str, content: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content.encode())))
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def stubs() -> Iterator[tuple[Stub, Stub]]:
    servers = Stub(0.0), Stub(SECONDS, "blue", 50)
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield servers
    for server in servers:
        server.shutdown()
        server.server_close()


PROMPTS = [
    Request(("data:image/png;base64,",), f"{i} {word}", "red")
    for i, word in enumerate(["red", "red", "red", "blue", "red", "red", "blue"])
]


def test_comparison(stubs: tuple[Stub, Stub]) -> None:
    steps: list[None] = []
    quick, slow = stubs
    result = compare_servers(
        quick.url, slow.url, PROMPTS, concurrency=2, on_step=lambda: steps.append(None)
    )
    report = result.to_dict()
    assert report["prompts"] == 5  # two to warm up
    assert report["agreement"] == 2 / 5
    assert report["compressed"]["accuracy"] == 3 / 5
    assert report["baseline"]["accuracy"] == 0
    first = [report[name]["ttft_ms_median"] for name in ("compressed", "baseline")]
    assert first[0] < 1000 * SECONDS < first[1]
    assert report["baseline"]["requests_per_second"] < 2 / SECONDS
    assert [report[x]["prompt_tokens_mean"] for x in ("compressed", "baseline")] == [20, 50]
    assert 1 < report["ttft_speedup_min"] <= report["ttft_speedup"] <= report["ttft_speedup_max"]
    assert len(steps) == len(PROMPTS)
    for stub in stubs:
        assert sorted(stub.asked) == [prompt.question for prompt in PROMPTS]
        assert stub.most <= 2
    assert slow.most == 2
    texts = [str(column._cells) for column in result.to_table().columns]
    assert "60.0%" in texts[2]
    assert "in 3 turns" in str(result.to_table().caption)


def test_a_server_that_counts_no_tokens(stubs: tuple[Stub, Stub]) -> None:
    quick = stubs[0]
    quick.length = 0
    report = compare_servers(quick.url, quick.url, PROMPTS, concurrency=2)
    assert report.to_dict()["baseline"]["prompt_tokens_mean"] is None
    assert "tokens of a prompt, mean" not in report.to_table().columns[0]._cells


def test_what_cannot_be_asked(stubs: tuple[Stub, Stub]) -> None:
    with pytest.raises(ValueError, match="2 prompts are too few: the first 2 only warm"):
        compare_servers(stubs[0].url, stubs[1].url, PROMPTS[:2], concurrency=2)
    with pytest.raises(ValueError, match=r"no answer from http://127.0.0.1:9/v1/models: Conn"):
        compare_servers(stubs[0].url, "http://127.0.0.1:9/v1", PROMPTS, concurrency=2)


def test_suite_prompts() -> None:
    prompts = suite_prompts(8, 224)
    assert len({prompt.images for prompt in prompts}) == 8
    assert all(prompt.answer and prompt.question.endswith("?") for prompt in prompts)
    with pytest.raises(ValueError, match="112 to 4096 pixels"):
        suite_prompts(1, 20)


def test_suite_prompts_about_other_pictures() -> None:
    prompts = suite_prompts(8, 224, ("page", "video"))
    assert len({prompt.images for prompt in prompts}) == 8
    assert all(len(prompt.images) == 1 for prompt in prompts[::2])
    assert all(len(prompt.images) >= 4 for prompt in prompts[1::2])
    assert len({prompt.question for prompt in prompts[::2]}) > 1
    with pytest.raises(ValueError, match="224 to 4096 pixels"):
        suite_prompts(1, 200, ("drawn", "page"))
