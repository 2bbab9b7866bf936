"""The same prompts to two running servers, turn by turn: what a client feels of compression."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable, Sequence
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ipcv.bench.comparison import Comparison, Reply, Request, Served, Turn
from ipcv.bench.quality.suite import ANSWER_TOKENS, LEAST_SIDE, PICTURE_SIDE, scenes_in_turn
from ipcv.bench.replies import chunks, client_of, told, whole
from ipcv.bench.scenes.pictures import DRAWN

if TYPE_CHECKING:
    from PIL.Image import Image


SHORTEST_SIDE, LONGEST_SIDE = 112, 4096


def suite_prompts(
    count: int, side: int = PICTURE_SIDE, pictures: Sequence[str] = (DRAWN,)
) -> list[Request]:
    """So many questions of the built-in suite, each about a picture of its own.

    The `pictures`, names of `PICTURES`, take turns; frames of clips have half the sides.

    Raises:
        ValueError: a side of so many pixels is too short for them, or longer than any.
    """
    least = SHORTEST_SIDE if set(pictures) == {DRAWN} else LEAST_SIDE
    if not least <= side <= LONGEST_SIDE:
        raise ValueError(f"pictures for servers have {least} to {LONGEST_SIDE} pixels a side")
    prompts = []
    scenes = islice(scenes_in_turn((side, side), pictures), count)
    for number, scene in enumerate(scenes):
        question = scene.questions[number // len(pictures) % len(scene.questions)]
        urls = tuple(map(data_url, scene.frames))
        prompts.append(Request(urls, question.text, question.answer))
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
        asked = prompts[first : first + concurrency]
        for client, side in pairs if first // concurrency % 2 else reversed(pairs):
            answered = await _ask_all(client, side.model, asked, max_tokens)
            if first:
                side.turns.append(answered)
        for _ in asked:
            on_step()
    for client in clients:
        await client.close()
    return Comparison(prompts[concurrency:], concurrency, *sides)


async def _model(client: Any) -> str:
    """What the server serves, by its name."""
    async with told(client), client.models.with_streaming_response.list() as response:
        return str((await whole(response))["data"][0]["id"])


async def _ask_all(client: Any, model: str, prompts: Sequence[Request], max_tokens: int) -> Turn:
    """All at once."""
    start = perf_counter()
    replies = await asyncio.gather(*(_ask(client, model, p, max_tokens) for p in prompts))
    return Turn(replies, perf_counter() - start)


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
        stream_options={"include_usage": True},
    )
    text, first, prompt_tokens = "", None, None
    async with told(client), asking as response:
        async for chunk in chunks(response):
            if usage := chunk.get("usage"):
                prompt_tokens = int(usage["prompt_tokens"])
            if piece := chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                first = first or perf_counter() - start
                text += str(piece)
    total = perf_counter() - start
    return Reply(text, total if first is None else first, total, prompt_tokens)
