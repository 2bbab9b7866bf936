"""Example pictures and a clip with a question each, drawn when the page starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
from PIL import Image

from ipcv.bench.scenes import HELD_OUT
from ipcv.bench.scenes.pictures import DRAWN, VIDEO, draw_picture

SAMPLE_KINDS = (DRAWN, "photo", "page", "screen", "chart", VIDEO)
"""Of pictures, one of each."""

CLIP_SIZE = (224, 224)
FRAMES_A_SECOND = 2


def draw_samples(folder: Path, seed: int = HELD_OUT) -> list[tuple[Path, str]]:
    """Draw one picture of each of `SAMPLE_KINDS` into a folder: files, and questions about them."""
    found = []
    for kind in SAMPLE_KINDS:
        if kind == VIDEO:
            scene = draw_picture(kind, seed, CLIP_SIZE)
            path = _write_clip(folder / "clip.webm", scene.frames)
        else:
            scene = draw_picture(kind, seed)
            scene.image.save(path := folder / f"{kind}.png")
        found.append((path, scene.questions[0].text))
    return found


def _write_clip(path: Path, frames: Sequence[Image.Image]) -> Path:
    """In a format that all browsers play."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=FRAMES_A_SECOND)
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())
    return path
