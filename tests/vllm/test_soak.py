"""A day of a server: many requests by many clients, some of them bad, and memory afterwards."""

import base64
import io
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import openai
import psutil
import pytest

from ipcv.bench.scenes import HELD_OUT, draw_scene
from tests.vllm.faults import BAD_IMAGES, go_away
from tests.vllm.scenes import SIZES, cases
from tests.vllm.servers import Server, content_of, serve

REQUESTS, CLIENTS = 2000, 32
GROWTH = 1.02
"""Of memory in the second half."""
IMAGES, VIDEOS = 140, 10
FLAGS = (  # caches smaller than the prompts need: most images are encoded again
    "--num-gpu-blocks-override=96",
    "--mm-processor-cache-gb=0.1",
)
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "2"}
"""What is freed goes back: else batches of ever other sizes tear holes, also in stock vLLM."""

pytestmark = [pytest.mark.soak, pytest.mark.slow]


@pytest.fixture(scope="module")
def server(padded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("server") / "log"
    options = "--reduction-ratio=0.65", "--keep-tokens=0.5"
    with serve(padded, log, *options, flags=FLAGS, environment=MALLOC) as running:
        yield running


def contents() -> list[list[dict[str, Any]]]:
    """Of one to three images of several sizes, or of a video, and a question."""
    images = [content_of(case) for case in cases(IMAGES + 1)[:IMAGES]]
    return images + [
        [video_part(number), {"type": "text", "text": "What number is written?"}]
        for number in range(VIDEOS)
    ]


def video_part(number: int) -> dict[str, Any]:
    """Four scenes, as JPEG."""
    frames = []
    for frame in range(4):
        file, seed = io.BytesIO(), HELD_OUT + 10_000 + 4 * number + frame
        draw_scene(seed, SIZES[number % 2]).image.save(file, "JPEG", quality=95)
        frames.append(base64.b64encode(file.getvalue()).decode())
    url = f"data:video/jpeg;base64,{','.join(frames)}"
    return {"type": "video_url", "video_url": {"url": url}}


class Memory(NamedTuple):
    """MiB of a server and its workers.

    Attributes:
        private: what each has for itself.
        shared: the size of what they hand over pictures by, which is resident only once used.
    """

    private: float
    shared: float


def memory_of(server: Server) -> Memory:
    """Once nothing runs."""
    while server.metric("vllm:num_requests_running") + server.metric("vllm:num_requests_waiting"):
        time.sleep(0.5)
    processes = [psutil.Process(server.process.pid), *server.children()]
    sizes = {part.path: part.size for each in processes for part in maps_of(each)}
    private = sum(process.memory_full_info().uss for process in processes)
    return Memory(private / 2**20, sum(sizes.values()) / 2**20)


def maps_of(process: psutil.Process) -> list[Any]:
    """Shared memory that has a name."""
    maps = process.memory_maps(grouped=False)
    return [part for part in maps if part.path.startswith("/dev/shm/")]


def test_soak(server: Server) -> None:
    """No answer is another than that of the quiet server, and images leave no memory behind."""
    asked = contents()

    def answer(content: list[dict[str, Any]]) -> str:
        return server.complete(content).choices[0].message.content

    quiet = [answer(content) for content in asked]

    def request(number: int) -> bool:
        """Whether all is well."""
        which = random.Random(number).randrange(len(asked))
        if number % 20 == 3:
            bad = BAD_IMAGES[number // 20 % len(BAD_IMAGES)]
            with pytest.raises(openai.APIStatusError):
                answer([bad, *asked[which]])
        elif number % 20 == 13:
            go_away(server, asked[which])
        else:
            return answer(asked[which]) == quiet[which]
        return True

    memory = []
    for numbers in (range(REQUESTS // 2), range(REQUESTS // 2, REQUESTS)):
        start = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as pool:
            assert all(pool.map(request, numbers))
        rate = len(numbers) / (time.monotonic() - start)
        memory.append(memory_of(server))
        print(f"{rate:.1f} requests/s, {memory[-1]}", flush=True)
    assert len(set(quiet)) > 20
    assert memory[1].private < GROWTH * memory[0].private
    assert memory[1].shared == memory[0].shared > 0
