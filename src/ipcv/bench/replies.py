"""A server's replies, within bounds of time and size whatever it sends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from ipcv.core.lines import one_line

CONNECT_SECONDS, SILENT_SECONDS, REPLY_SECONDS = 10, 120, 600
"""A server that takes longer to accept, to say anything more, or to finish is given up."""

REPLY_BYTES = 1 << 20
"""A longer reply is none to a question of ours."""


def client_of(url: str) -> Any:
    """Asks the server with an OpenAI-compatible API at a URL, within these bounds.

    Raises:
        ImportError: the `openai` client is not installed.
        ValueError: that is no URL of a server.
    """
    try:
        import openai
    except ImportError:
        raise ImportError("asking servers needs the openai client: pip install openai") from None
    if not _is_server(url):
        raise ValueError(f"{url} is no URL of a server, such as http://127.0.0.1:8000/v1")
    return openai.AsyncOpenAI(
        base_url=url,
        api_key="none",
        max_retries=0,
        timeout=openai.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS),
        http_client=openai.DefaultAsyncHttpxClient(event_hooks={"response": [_refuse_errors]}),
    )


def _is_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of the port
        return False


async def _refuse_errors(response: Any) -> None:
    """Raise `ValueError` for an HTTP error; the client would read on as long as the server goes."""
    if response.is_error:
        said = b"".join([part async for part in _bounded(response.aiter_bytes())])
        raise ValueError(f"status {response.status_code} {said.decode(errors='replace')}".strip())


@asynccontextmanager
async def told(client: Any) -> AsyncIterator[None]:
    """Whatever fails inside is a `ValueError` that names the server."""
    import openai

    try:
        async with asyncio.timeout(REPLY_SECONDS):
            yield
    except TimeoutError:
        raise ValueError(f"no answer from {client.base_url} in {REPLY_SECONDS} s") from None
    except openai.APIError as error:
        why = one_line(error.__cause__ or error)
        raise ValueError(f"no answer from {error.request.url}: {why}") from None
    except MemoryError:
        raise
    except Exception as error:  # of the network, or of a reply that is none
        raise ValueError(f"no answer from {client.base_url}: {one_line(error)}") from None


async def whole(response: Any) -> Any:
    """What a reply says in JSON."""
    return json.loads(b"".join([part async for part in _bounded(response.iter_bytes())]))


async def chunks(response: Any) -> AsyncIterator[Any]:
    """The chunks of a streamed answer, as they come.

    Raises:
        ValueError: the server says that it failed, or stops before the end.
    """
    rest = b""
    async for part in _bounded(response.iter_bytes()):
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            field, _, value = line.strip().partition(b":")
            if field != b"data":
                continue
            if value.strip() == b"[DONE]":
                return
            chunk = json.loads(value)
            if "error" in chunk:
                raise ValueError(str(chunk["error"]))
            yield chunk
    raise ValueError("it stopped before the end of an answer")


async def _bounded(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    size = 0
    async for part in parts:
        size += len(part)
        if size > REPLY_BYTES:
            raise ValueError(f"it says more than {REPLY_BYTES:,} bytes")
        yield part
