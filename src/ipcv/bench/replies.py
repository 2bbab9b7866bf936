"""Replies of a server, within bounds of time and size whatever it sends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ipcv.core.lines import one_line

CONNECT_SECONDS, SILENT_SECONDS, REPLY_SECONDS = 10, 120, 600
"""A server that takes longer to accept, to say anything more, or to finish is given up."""

REPLY_BYTES = 1 << 20
"""A longer reply is none to a question of ours."""


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
        raise ValueError(f"no answer from {error.request.url}: {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # of the network, or of a reply that is none
        raise ValueError(f"no answer from {client.base_url}: {one_line(error)}") from None


async def whole(response: Any) -> Any:
    """What a reply says in JSON."""
    return json.loads(b"".join([part async for part in _parts(response)]))


async def pieces(response: Any) -> AsyncIterator[str]:
    """The text of a streamed answer, as it comes.

    Raises:
        ValueError: the server says that it failed, or stops before the end.
    """
    rest = b""
    async for part in _parts(response):
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
            text = chunk["choices"][0]["delta"].get("content") if chunk["choices"] else None
            if text:
                yield str(text)
    raise ValueError("it stopped before the end of an answer")


async def _parts(response: Any) -> AsyncIterator[bytes]:
    size = 0
    async for part in response.iter_bytes():
        size += len(part)
        if size > REPLY_BYTES:
            raise ValueError(f"it says more than {REPLY_BYTES:,} bytes")
        yield part
