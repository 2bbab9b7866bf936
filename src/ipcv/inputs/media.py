"""Images and video frames from files that may be anything."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 100_000_000
"""Images that claim more pixels are refused before they are decoded."""

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})


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
    """The image as RGB, turned as its EXIF orientation says.

    Raises:
        ValueError: missing, unreadable, truncated, not an image, or beyond `MAX_PIXELS`.
    """
    _require_file(path, "image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                _require_size(path, *image.size)
                return ImageOps.exif_transpose(image).convert("RGB")
    except Image.DecompressionBombError:
        raise ValueError(f"image {path} claims more than {MAX_PIXELS:,} pixels: refused") from None
    except UnidentifiedImageError:
        raise ValueError(f"{path} is not an image that Pillow can read") from None
    except (OSError, SyntaxError, EOFError, RuntimeError) as error:
        raise ValueError(f"image {path} cannot be read: {error}") from None


def load_video(path: Path, num_frames: int = 8) -> Video:
    """`num_frames` RGB frames, evenly spaced over the video, decoded by PyAV.

    A shorter video gives all its frames. A folder is a video too: its images, by name.

    Raises:
        ValueError: missing, unreadable, or without a frame.
        ImportError: PyAV is not installed.
    """
    if path.is_dir():
        return _load_frames(path, num_frames)
    try:
        import av
    except ImportError:
        raise ImportError("video needs PyAV: pip install av") from None
    _require_file(path, "video")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"video {path} holds no frame")
            stream = container.streams.video[0]
            _require_size(path, stream.width, stream.height)
            total = stream.frames or sum(1 for _ in container.decode(stream))
            wanted = _evenly_spaced(num_frames, total)
            container.seek(0)
            frames = {
                index: frame.to_image()
                for index, frame in enumerate(container.decode(stream))
                if index in wanted
            }
            fps = float(stream.average_rate) if stream.average_rate else None
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"video {path} cannot be read: {error}") from None
    if not frames:
        raise ValueError(f"video {path} holds no frame")
    return Video(list(frames.values()), list(frames), total, fps)


def _load_frames(folder: Path, num_frames: int) -> Video:
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise ValueError(f"video {folder} holds no frame")
    indices = sorted(_evenly_spaced(num_frames, len(files)))
    return Video([load_image(files[index]) for index in indices], indices, len(files), None)


def _evenly_spaced(count: int, total: int) -> set[int]:
    """The middles of `count` equal parts of `total` frames; all frames where these are fewer."""
    return {(2 * i + 1) * total // (2 * count) for i in range(count)}


def _require_file(path: Path, kind: str) -> None:
    if not path.exists():
        raise ValueError(f"{kind} {path} does not exist")
    if not path.is_file():
        raise ValueError(f"{path} is not a file")


def _require_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"{path} claims {width:,} x {height:,} pixels, more than {MAX_PIXELS:,}: refused"
        )
