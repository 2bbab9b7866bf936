"""The same prompts to two running servers, turn by turn: what a client feels of compression."""

from __future__ import annotations

import asyncio
import base64
import io
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rich.table import Table

from ipcv.bench.quality.suite import ANSWER_TOKENS
from ipcv.bench.replies import client_of, pieces, told, whole
from ipcv.bench.scenes import HELD_OUT, draw_scene

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Request:
    """A question about images.

    Attributes:
        images: as URLs; `data:` URLs hold the image itself.
        question: the text behind them.
        answer: the right answer, if known.
    """

    images: tuple[str, ...]
    question: str
    answer: str | None = None


@dataclass(frozen=True)
class Reply:
    """What came back: the text, and the seconds until its first token and its end."""

    text: str
    first_token: float
    total: float


@dataclass
class Served:
    """A server's replies, in the order of the prompts, and how long it was asked in all.

    Attributes:
        url: of the server's OpenAI-compatible API.
        model: as the server calls it.
        replies: one per prompt.
        seconds: in which the server was busy with them.
    """

    url: str
    model: str
    replies: list[Reply] = field(default_factory=list)
    seconds: float = 0.0

    def summary(self, prompts: Sequence[Request]) -> dict[str, Any]:
        """The numbers as JSON types; times in milliseconds."""
        first = [1e3 * reply.first_token for reply in self.replies]
        total = [1e3 * reply.total for reply in self.replies]
        graded = [
            reply.text.strip() == prompt.answer
            for reply, prompt in zip(self.replies, prompts, strict=True)
            if prompt.answer is not None
        ]
        return {
            "url": self.url,
            "model": self.model,
            "ttft_ms_median": statistics.median(first),
            "ttft_ms_p90": _p90(first),
            "latency_ms_median": statistics.median(total),
            "requests_per_second": len(self.replies) / self.seconds,
            "accuracy": sum(graded) / len(graded) if graded else None,
        }


@dataclass(frozen=True)
class Comparison:
    """Two servers, asked the same."""

    prompts: Sequence[Request]
    concurrency: int
    compressed: Served
    baseline: Served

    @property
    def agreement(self) -> float:
        """The share of prompts that both answer in the same words."""
        pairs = zip(self.compressed.replies, self.baseline.replies, strict=True)
        return sum(a.text == b.text for a, b in pairs) / len(self.prompts)

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON types."""
        return {
            "prompts": len(self.prompts),
            "concurrency": self.concurrency,
            "baseline": self.baseline.summary(self.prompts),
            "compressed": self.compressed.summary(self.prompts),
            "agreement": self.agreement,
        }

    def to_table(self) -> Table:
        """The same, for people."""
        table = Table(
            title=f"{len(self.prompts)} prompts, {self.concurrency} at a time",
            caption=f"same answer: {self.agreement:.1%}",
        )
        for column in ("", "baseline", "compressed"):
            table.add_column(column, justify="right" if column else "left")
        sides = [side.summary(self.prompts) for side in (self.baseline, self.compressed)]
        rows = {
            "time to first token, median ms": "{ttft_ms_median:.0f}",
            "time to first token, 90 % below ms": "{ttft_ms_p90:.0f}",
            "whole answer, median ms": "{latency_ms_median:.0f}",
            "requests per second": "{requests_per_second:.2f}",
        }
        if all(side["accuracy"] is not None for side in sides):
            rows["right answers"] = "{accuracy:.1%}"
        for label, template in rows.items():
            table.add_row(label, *(template.format(**side) for side in sides))
        return table


def suite_prompts(count: int, size: tuple[int, int] = (448, 448)) -> list[Request]:
    """So many questions of the built-in suite, each about a scene of its own."""
    prompts = []
    for number in range(count):
        scene = draw_scene(HELD_OUT + number, size)
        question = scene.questions[number % len(scene.questions)]
        prompts.append(Request((data_url(scene.image),), question.text, question.answer))
    return prompts


def data_url(image: Image) -> str:
    """The image itself, as PNG, in a URL."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def compare_servers(
    url: str,
    url_baseline: str,
    prompts: Sequence[Request],
    *,
    concurrency: int = 8,
    max_tokens: int = ANSWER_TOKENS,
    on_step: Callable[[], None] = lambda: None,
) -> Comparison:
    """Ask two servers the same prompts, greedily.

    In turn: `concurrency` prompts at a time go to one server, then to the other, so that they never
    compete. Which one is first alternates. In the first such turn they warm up: it does not count.

    Args:
        url: of the compressing server's API, such as `http://127.0.0.1:8000/v1`.
        url_baseline: the other's.
        prompts: more than `concurrency`, each with an image of its own: servers remember those they
            have encoded.
        concurrency: requests at a time.
        max_tokens: of an answer.
        on_step: called when a prompt is answered by both.

    Raises:
        ImportError: the `openai` client is not installed.
        ValueError: there are too few prompts, a URL is none, or a server cannot be reached or
            refuses one.
    """
    if len(prompts) <= concurrency:
        raise ValueError(
            f"{len(prompts)} prompts are too few: the first {concurrency} only warm the servers up"
        )
    clients = [client_of(url), client_of(url_baseline)]
    return asyncio.run(_compare(clients, prompts, concurrency, max_tokens, on_step))


async def _compare(
    clients: Sequence[Any],
    prompts: Sequence[Request],
    concurrency: int,
    max_tokens: int,
    on_step: Callable[[], None],
) -> Comparison:
    sides = [Served(str(client.base_url), await _model(client)) for client in clients]
    pairs = list(zip(clients, sides, strict=True))
    for first in range(0, len(prompts), concurrency):
        turn = prompts[first : first + concurrency]
        for client, side in pairs if first // concurrency % 2 else reversed(pairs):
            replies, seconds = await _ask_all(client, side.model, turn, max_tokens)
            if first:
                side.replies += replies
                side.seconds += seconds
        for _ in turn:
            on_step()
    for client in clients:
        await client.close()
    return Comparison(prompts[concurrency:], concurrency, *sides)


async def _model(client: Any) -> str:
    """What the server serves, by its name."""
    async with told(client), client.models.with_streaming_response.list() as response:
        return str((await whole(response))["data"][0]["id"])


async def _ask_all(
    client: Any, model: str, prompts: Sequence[Request], max_tokens: int
) -> tuple[list[Reply], float]:
    """All at once: the replies, and the seconds that it took."""
    start = perf_counter()
    replies = await asyncio.gather(*(_ask(client, model, p, max_tokens) for p in prompts))
    return replies, perf_counter() - start


async def _ask(client: Any, model: str, prompt: Request, max_tokens: int) -> Reply:
    images = [{"type": "image_url", "image_url": {"url": url}} for url in prompt.images]
    content = [*images, {"type": "text", "text": prompt.question}]
    start = perf_counter()
    asking = client.chat.completions.with_streaming_response.create(
        model=model,
        messages=[{"role": "user", "content": content}],
        max_tokens=max_tokens,
        temperature=0,
        stream=True,
    )
    text, first = "", None
    async with told(client), asking as response:
        async for piece in pieces(response):
            first = first or perf_counter() - start
            text += piece
    total = perf_counter() - start
    return Reply(text, total if first is None else first, total)


def _p90(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=10)[-1] if len(values) > 1 else values[0]
