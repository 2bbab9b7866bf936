"""`ipcv serve` as a process of its own, and clients of it."""

import base64
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from PIL import Image

from tests.vllm.scenes import MAX_TOKENS, Case

START_SECONDS = 500
VLLM_FLAGS = (
    "--dtype=float32",
    "--enforce-eager",
    "--max-model-len=2048",
    "--max-num-seqs=16",
    '--limit-mm-per-prompt={"image":4,"video":1}',
)


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    url: str
    log: Path

    @cached_property
    def client(self) -> Any:
        import openai

        return openai.OpenAI(
            base_url=f"{self.url}/v1",
            api_key="none",
            max_retries=0,
            timeout=120,
            default_headers={"Connection": "close"},  # an idle one the server closes when it likes
        )

    def ask(self, case: Case) -> str:
        return self.complete(content_of(case)).choices[0].message.content

    def complete(self, content: Any, max_tokens: int = MAX_TOKENS, **options: Any) -> Any:
        return self.client.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": content}],
            max_tokens=max_tokens,
            temperature=0,
            **options,
        )

    def ask_together(self, cases: list[Case], clients: int) -> list[str]:
        with ThreadPoolExecutor(clients) as pool:
            return list(pool.map(self.ask, cases))

    def get(self, path: str) -> str:
        with urlopen(self.url + path, timeout=30) as response:
            return response.read().decode()

    def metric(self, name: str) -> float:
        return self.metrics(name)[0]

    def metrics(self, *names: str) -> list[float]:
        """All of the same moment."""
        lines = self.get("/metrics").splitlines()
        starts = [(f"{name}{{", f"{name} ") for name in names]  # other names go on
        found = [[line for line in lines if line.startswith(start)] for start in starts]
        return [sum(float(line.rsplit(" ", 1)[1]) for line in own) for own in found]

    def children(self) -> list[Any]:
        import psutil

        return psutil.Process(self.process.pid).children(recursive=True)


def content_of(case: Case) -> list[dict[str, Any]]:
    return [*map(image_part, case.images), {"type": "text", "text": case.question}]


def image_part(image: Image.Image) -> dict[str, Any]:
    file = io.BytesIO()
    image.save(file, "PNG")
    return url_part("image/png", file.getvalue())


def url_part(kind: str, content: bytes) -> dict[str, Any]:
    url = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


@contextmanager
def serve(
    model: Path,
    log: Path,
    *options: str,
    flags: tuple[str, ...] = (),
    environment: dict[str, str] | None = None,
) -> Iterator[Server]:
    """`ipcv serve MODEL OPTIONS -- FLAGS`, ready for requests."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ipcv = Path(sys.executable).with_name("ipcv")
    command = [str(ipcv), "serve", str(model), *options, "--", *VLLM_FLAGS]
    command += ["--served-model-name=tiny", "--host=127.0.0.1", f"--port={port}", *flags]
    environment = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1", **(environment or {})}
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    server = Server(process, f"http://127.0.0.1:{port}", log)
    try:
        _wait(server)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its own session: whatever is left of it


def _wait(server: Server) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise RuntimeError(f"server stopped:\n{server.log.read_text()[-3000:]}")
        try:
            server.get("/health")
            return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    raise TimeoutError(f"server did not start:\n{server.log.read_text()[-3000:]}")
