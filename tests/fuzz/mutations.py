"""Seeded damage to files and to what JSON says."""

import copy
import json
from random import Random
from typing import Any

EXTREMES = (b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\xff\xff\xff\xff")

HOSTILE: tuple[Any, ...] = (
    None, True, 0, -1, 1, 0.5, 10**6, 10**20, -(10**20), float("nan"), float("inf"), "", "x",
    "\udcff", "[/b]", "../x", "/dev/zero", [], [1], ["x"], {}, {"x": 1}, [[[]]],
)  # fmt: skip


def damaged(data: bytes, rng: Random) -> bytes:
    """The bytes with up to eight changes: bits, cuts, copies, extreme values."""
    result = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(result) + 1)
        other = rng.randrange(len(result) + 1)
        kind = rng.randrange(6)
        if kind == 0 and place < len(result):
            result[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            extreme = rng.choice(EXTREMES)
            result[place : place + len(extreme)] = extreme
        elif kind == 2:
            result[place : place + rng.randrange(1, 64)] = b""
        elif kind == 3:
            result[place:place] = result[other : other + rng.randrange(1, 64)]
        elif kind == 4:
            result[place : place + rng.randrange(1, 64)] = rng.randbytes(rng.randrange(64))
        elif rng.random() < 0.3:
            del result[place:]
    return bytes(result)


def hostile(content: Any, rng: Random) -> Any:
    """The JSON content with one to three values replaced, removed or put elsewhere."""
    result = copy.deepcopy(content)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(result))
        if not places:
            return rng.choice(HOSTILE)
        holder, key = rng.choice(places)
        if rng.random() < 0.15:
            del holder[key]
        elif rng.random() < 0.15:
            other, its_key = rng.choice(places)
            holder[key] = copy.deepcopy(other[its_key])
        else:
            holder[key] = rng.choice(HOSTILE)
    return result


def hostile_text(text: str, rng: Random) -> bytes:
    """JSON, damaged in what it says or in how it is written."""
    if rng.random() < 0.25:
        return damaged(text.encode(), rng)
    return json.dumps(hostile(json.loads(text), rng)).encode()


def _places(content: Any) -> Any:
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        yield content, key
        if isinstance(value, dict | list):
            yield from _places(value)
