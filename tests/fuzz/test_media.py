"""Pictures and videos with damage anywhere are refused in one line, or come out as RGB."""

import io
import resource
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image, features

from ipcv.inputs.media import load_image, load_video
from tests.fuzz.conftest import Rounds
from tests.fuzz.mutations import damaged
from tests.inputs.test_media import save_video

pytestmark = pytest.mark.filterwarnings("ignore")  # a command's stderr is its own

MEGABYTES = 600
"""How much more than before the largest damaged file may take."""


def pictures() -> list[bytes]:
    """Small ones of many formats and modes."""
    gray = Image.linear_gradient("L").resize((24, 16))
    color = Image.merge("RGB", (gray, gray.transpose(Image.Transpose.ROTATE_180), gray))
    clear = color.copy()
    clear.putalpha(gray)
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    made = [
        (color, "PNG", {}),
        (clear, "PNG", {}),
        (deep, "PNG", {}),
        (color.quantize(8), "PNG", {"transparency": 1}),
        (color, "JPEG", {"exif": exif}),
        (color, "JPEG", {"progressive": True}),
        (color.convert("CMYK"), "JPEG", {}),
        (clear, "GIF", {}),
        (color, "BMP", {}),
        (color, "TIFF", {"compression": "tiff_lzw"}),
        (deep, "TIFF", {}),
        (clear, "WEBP", {}),
        (clear, "ICO", {}),
        (color, "PPM", {}),
        (color, "TGA", {}),
        (color, "JPEG2000", {}),
    ]
    if features.check("avif"):
        made.append((clear, "AVIF", {}))
    found = []
    for image, kind, options in made:
        file = io.BytesIO()
        image.save(file, kind, **options)
        found.append(file.getvalue())
    return found


def peak() -> int:
    """Megabytes of this process at its largest."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def test_pictures(rounds: Rounds, tmp_path: Path) -> None:
    path, files, before = tmp_path / "a.png", pictures(), peak()

    def attack(rng: Random) -> None:
        path.write_bytes(damaged(rng.choice(files), rng))
        image = load_image(path)
        assert image.mode == "RGB"
        assert np.asarray(image).shape == (image.height, image.width, 3)

    rounds(attack)
    assert peak() < before + MEGABYTES


def test_videos(rounds: Rounds, tmp_path: Path) -> None:
    kinds = {".mp4": "mpeg4", ".mkv": "libx264", ".webm": "libvpx", ".avi": "mpeg4", ".mpg": ""}
    files = {
        suffix: save_video(tmp_path / f"whole{suffix}", 12, codec or "mpeg2video").read_bytes()
        for suffix, codec in kinds.items()
    }
    before = peak()

    def attack(rng: Random) -> None:
        suffix = rng.choice(list(files))
        path = tmp_path / f"a{suffix}"
        path.write_bytes(damaged(files[suffix], rng))
        video = load_video(path, 4)
        assert {frame.mode for frame in video.frames} == {"RGB"}
        assert 1 <= len(video.frames) == len(video.indices) <= 4
        assert video.indices == sorted(video.indices)
        assert video.indices[-1] < video.total

    rounds(attack)
    assert peak() < before + MEGABYTES
