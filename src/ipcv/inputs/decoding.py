"""Frames out of video files, by PyAV."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from ipcv.core.lines import one_line

FRAME_PIXELS = 4096 * 4096
"""Videos of larger frames are refused: decoders hold many at a time."""

SAMPLED_PIXELS = 75_000_000
"""Of all sampled frames of a video together: larger ones are scaled down to that."""

DECODED_PIXELS = 100_000_000_000
"""Of all frames of a video together, some minutes of decoding: more are refused."""

LEAST_PIXELS = 128 * 128
"""A smaller frame takes about as long to decode."""

CUT_OFF = 0.9
"""A file with less than this share of the seconds that it promises is not whole."""

UPRIGHT: dict[tuple[int, int, int, int], Image.Transpose] = {
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}
"""What brings a frame upright, by the signs of `a, b, c, d` in its display matrix."""


def decode(
    path: Path, num_frames: int, most_pixels: int = DECODED_PIXELS
) -> tuple[dict[int, Image.Image], int, float | None]:
    """Evenly spaced frames by their number, how many there are, and how many a second.

    Args:
        path: the file.
        num_frames: how many are wanted.
        most_pixels: of all frames of the video together, each with `LEAST_PIXELS` or more.

    Raises:
        ValueError: unreadable, cut off, too large, or without a frame.
        ImportError: PyAV is not installed.
    """
    try:
        import av
    except ImportError:
        raise ImportError("video needs PyAV: pip install av") from None
    # Codecs, too, are given these, and refuse what a container lies about.
    options = {"max_pixels": str(FRAME_PIXELS)}
    try:
        with av.open(str(path), options=options, metadata_errors="replace") as container:
            return _Decoding(container, most_pixels).sample(num_frames)
    except Exception as error:  # decoders raise anything
        raise ValueError(f"video {path} cannot be read: {one_line(error)}") from None


def evenly_spaced(count: int, total: int) -> list[int]:
    """The middles of `count` equal parts of `total` frames; all frames where these are fewer."""
    return sorted({(2 * i + 1) * total // (2 * count) for i in range(count)})


class _Decoding:
    """A container with a video in it, of at most so many pixels in all.

    Raises:
        ValueError: it holds no video, or one that is too large.
    """

    def __init__(self, container: Any, most_pixels: int) -> None:
        self.container = container
        self.most_pixels = most_pixels
        if not container.streams.video:
            raise ValueError("it holds no frame")
        self.stream = container.streams.video[0]
        self.codec = self.stream.codec_context
        if self.codec is None:
            raise ValueError("it does not say how its frames are coded")
        pixels = self.codec.width * self.codec.height
        if not 0 < pixels <= FRAME_PIXELS:  # 0 also where a codec refused what is larger
            raise ValueError(f"its frames have more than {FRAME_PIXELS:,} pixels, or none")
        self.codec.options = {"max_pixels": str(FRAME_PIXELS)}
        self._require_short(self.stream.frames, pixels)

    def sample(self, num_frames: int) -> tuple[dict[int, Image.Image], int, float | None]:
        """As `decode`."""
        total = self.stream.frames or self._count()
        wanted, found, decoded = evenly_spaced(num_frames, total), dict[int, Image.Image](), 0
        for decoded, frame in enumerate(self._frames(), start=1):
            if decoded - 1 in wanted:
                found[decoded - 1] = _upright(frame, SAMPLED_PIXELS // len(wanted))
        if not decoded:
            raise ValueError("it holds no frame")
        if len(found) < len(wanted):
            raise ValueError(f"it is cut off: {decoded:,} of its {total:,} frames are there")
        rate = self.stream.average_rate
        return found, total, float(rate) if rate else None

    def _count(self) -> int:
        """Frames, where the file does not say it."""
        count, last = 0, None
        for frame in self._frames():
            count, last = count + 1, frame
        promised = _seconds(self.stream.metadata.get("DURATION", ""))
        if last is None:
            raise ValueError("it holds no frame")
        there = last.time or math.inf
        if there < CUT_OFF * promised - 1 / (self.stream.average_rate or 1):
            raise ValueError(f"it is cut off after {there:.1f} of its {promised:.1f} seconds")
        self.container.seek(0)
        return count

    def _frames(self) -> Iterator[Any]:
        pixels = 0
        for number, frame in enumerate(self.container.decode(self.stream)):
            pixels = max(pixels, frame.width * frame.height)
            self._require_short(number, pixels)
            yield frame

    def _require_short(self, frames: int, pixels: int) -> None:
        if frames * max(pixels, LEAST_PIXELS) > self.most_pixels:
            raise ValueError("it is too long to decode all its frames: cut or scale it down first")


def _upright(frame: Any, pixels: int) -> Image.Image:
    """The frame in RGB as its display matrix says, of at most so many pixels."""
    width, height = _size_within(pixels, frame.width, frame.height)
    image: Image.Image = frame.to_image(width=width, height=height)
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return image
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix))
    largest = max(abs(x) for x in (a, b, c, d))
    signs = tuple(round(x / largest) if largest else 0 for x in (a, b, c, d))
    turn = UPRIGHT.get(signs)  # type: ignore[arg-type]
    return image if turn is None else image.transpose(turn)


def scaled_down(image: Image.Image, pixels: int) -> Image.Image:
    """The image in its proportions, of at most so many pixels."""
    size = _size_within(pixels, *image.size)
    if size == image.size:
        return image
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3)


def _size_within(pixels: int, width: int, height: int) -> tuple[int, int]:
    scale = min(1, math.sqrt(pixels / (width * height)))
    return max(1, int(width * scale)), max(1, int(height * scale))


def _seconds(text: str) -> float:
    """Of a duration such as 00:01:02.500; 0 where it is none."""
    match = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", text)
    if match is None:
        return 0.0
    hours, minutes, seconds = map(float, match.groups())
    return (60 * hours + minutes) * 60 + seconds
