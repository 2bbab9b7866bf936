"""Images and video frames from files that may be anything."""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageOps, UnidentifiedImageError, features

from ipcv.core.lines import one_line
from ipcv.inputs.decoding import DECODED_PIXELS, decode, evenly_spaced, scaled_down
from ipcv.inputs.modes import to_rgb

IMAGE_MEMORY = 300_000_000
"""Bytes that decoding an image may take: larger ones are refused before they are decoded."""

TAKEN_PIXELS = 4096 * 4096
"""No supported processor keeps more: larger images are scaled down to that at once."""

BYTES_PER_PIXEL = {"JPEG2000": 24, "WEBP": 20, "AVIF": 12}
"""What decoders take at their height, measured; `DECODED_BYTES` where not told."""

DECODED_BYTES = 8
"""Pillow's four a pixel, and those of a turned or converted copy."""

PROGRESSIVE_BYTES = 6
"""What a progressive JPEG takes besides, a pixel of its whole size."""

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})

HEIF_BRANDS = (b"heic", b"heix", b"mif1", b"msf1")
"""What stands behind "ftyp" in the first bytes of such a file."""


class Video(NamedTuple):
    """Frames sampled from a video.

    Attributes:
        frames: RGB.
        indices: of each, its number in the video, from 0.
        total: frames of the video.
        fps: frames per second of the video, where the file says it.
    """

    frames: list[Image.Image]
    indices: list[int]
    total: int
    fps: float | None

    def metadata(self) -> dict[str, Any]:
        """What processors need to tell the time of each frame; fields of their `VideoMetadata`."""
        return {
            "total_num_frames": self.total,
            "fps": self.fps,
            "frames_indices": self.indices,
        }


def is_video(path: Path) -> bool:
    """Whether the file's extension is a video's."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def load_image(path: Path) -> Image.Image:
    """The image as RGB, turned as its EXIF orientation says, on white where it is transparent.

    A JPEG too large for `IMAGE_MEMORY` is decoded at a half, a quarter or an eighth of its size,
    and what is larger than `TAKEN_PIXELS` is scaled down to that.

    Raises:
        ValueError: missing, unreadable, truncated, not an image, too large to decode within
            `IMAGE_MEMORY`, or of values that do not say what is white.
    """
    _require_file(path, "image")
    _register_heif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return scaled_down(_decoded(path), TAKEN_PIXELS)
    except Image.DecompressionBombError as error:
        raise ValueError(f"image {path} is refused: {error}") from None
    except UnidentifiedImageError:
        raise ValueError(f"{path} is not an image that Pillow can read{_hint(path)}") from None
    except Exception as error:  # decoders and plugins raise anything
        raise ValueError(f"image {path} cannot be read: {one_line(error)}") from None


def _decoded(path: Path) -> Image.Image:
    """The image upright in RGB; nothing else of it is held on to, for it is large."""
    with Image.open(path) as image:
        _fit(image)
        ImageOps.exif_transpose(image, in_place=True)
        return to_rgb(image)


def load_video(path: Path, num_frames: int = 8, most_pixels: int = DECODED_PIXELS) -> Video:
    """`num_frames` RGB frames, evenly spaced over the video and upright, decoded by PyAV.

    A shorter video gives all its frames. A folder is a video too: its images, by name. A file with
    more than `most_pixels` in all its frames is refused before so many are decoded.

    Raises:
        ValueError: missing, unreadable, cut off, too large, or without a frame.
        ImportError: PyAV is not installed.
    """
    if path.is_dir():
        return _load_frames(path, num_frames)
    _require_file(path, "video")
    frames, total, fps = decode(path, num_frames, most_pixels)
    return Video(list(frames.values()), list(frames), total, fps)


def _load_frames(folder: Path, num_frames: int) -> Video:
    files = sorted(
        (file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES), key=_by_number
    )
    if not files:
        raise ValueError(f"video {folder} holds no frame")
    indices = evenly_spaced(num_frames, len(files))
    return Video([load_image(files[index]) for index in indices], indices, len(files), None)


def _by_number(path: Path) -> list[tuple[str, int]]:
    """Sorts frame2 before frame10."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)([0-9]*)", path.name)]


def _fit(image: Image.Image) -> None:
    """Let a JPEG decode at a size that is not too large. Raises `ValueError` for other images."""
    width, height = image.size
    for shrink in (1, 2, 4, 8) if image.format == "JPEG" else (1,):
        if _memory(image, width // shrink * (height // shrink)) <= IMAGE_MEMORY:
            if shrink > 1:
                image.draft(None, (width // shrink, height // shrink))
            return
    raise ValueError(f"{width:,} x {height:,} pixels are too many to decode")


def _memory(image: Image.Image, decoded: int) -> int:
    """Bytes that decoding takes, to so many pixels."""
    coefficients = PROGRESSIVE_BYTES if image.info.get("progressive") else 0
    cost = BYTES_PER_PIXEL.get(image.format or "", DECODED_BYTES)
    return decoded * cost + math.prod(image.size) * coefficients


def _register_heif() -> bool:
    """Let Pillow know HEIF. Whether the plugin is installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _hint(path: Path) -> str:
    """What would read the file, where a plugin does."""
    with path.open("rb") as file:
        start = file.read(12)
    brand = start[8:] if start[4:8] == b"ftyp" else b""
    if brand in HEIF_BRANDS and not _register_heif():
        return ": HEIC needs pip install pillow-heif"
    if brand == b"avif" and not features.check("avif"):
        return ": AVIF needs pip install 'pillow>=11.3'"
    return ""


def _require_file(path: Path, kind: str) -> None:
    if not path.exists():
        raise ValueError(f"{kind} {path} does not exist")
    if not path.is_file():
        raise ValueError(f"{path} is not a file")
