"""Bad requests to a server."""

import json
import socket
import struct
import zlib
from typing import Any

from tests.vllm.servers import Server, url_part


def png_of(width: int, height: int) -> bytes:
    """A small file that claims to be that large."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


BAD_IMAGES = [
    url_part("image/png", content)
    for content in (b"no image", png_of(60_000, 60_000), png_of(4_000, 1))
]


def go_away(server: Server, content: list[dict[str, Any]]) -> None:
    """Ask, and hang up at once."""
    host, port = server.url.removeprefix("http://").split(":")
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    messages = [{"role": "user", "content": content}]
    body = json.dumps({"model": "tiny", "messages": messages}).encode()
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
