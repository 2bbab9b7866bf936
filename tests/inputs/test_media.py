import struct
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from ipcv.inputs import media


def png_header(path: Path, width: int, height: int) -> Path:
    """A PNG that only claims its size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    return path


def save_video(path: Path, num_frames: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(num_frames):
            pixels = np.full((48, 64, 3), 10 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_image_is_rgb_and_upright(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    Image.new("L", (30, 10)).save(path, exif=exif)
    image = media.load_image(path)
    assert image.mode == "RGB"
    assert image.size == (10, 30)


def test_missing_image(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        media.load_image(tmp_path / "none.png")


def test_folder_as_image(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a file"):
        media.load_image(tmp_path)


def test_text_file_named_png(tmp_path: Path) -> None:
    path = tmp_path / "text.png"
    path.write_text("no image")
    with pytest.raises(ValueError, match="not an image"):
        media.load_image(path)


def test_truncated_image(tmp_path: Path, image: Path) -> None:
    path = tmp_path / "half.png"
    path.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    with pytest.raises(ValueError, match="cannot be read"):
        media.load_image(path)


@pytest.mark.parametrize("side", [11_000, 40_000])
def test_image_that_claims_too_many_pixels(tmp_path: Path, side: int) -> None:
    with pytest.raises(ValueError, match="refused"):
        media.load_image(png_header(tmp_path / "bomb.png", side, side))


def test_video_frames_are_spread(tmp_path: Path) -> None:
    video = media.load_video(save_video(tmp_path / "video.mp4", 20), num_frames=4)
    levels = [round(np.asarray(frame).mean() / 10) for frame in video.frames]
    assert levels == video.indices == [2, 7, 12, 17]
    assert (video.total, video.fps) == (20, 5)


def test_short_video_gives_all_frames(tmp_path: Path) -> None:
    assert len(media.load_video(save_video(tmp_path / "video.mp4", 3), num_frames=8).frames) == 3


def test_folder_of_frames_is_a_video(tmp_path: Path) -> None:
    for number in range(20):
        Image.new("L", (8, 8), 10 * number).save(tmp_path / f"{number:03}.png")
    (tmp_path / "notes.txt").touch()
    video = media.load_video(tmp_path, num_frames=4)
    assert [round(np.asarray(frame).mean() / 10) for frame in video.frames] == [2, 7, 12, 17]
    assert (video.indices, video.total, video.fps) == ([2, 7, 12, 17], 20, None)


def test_empty_folder_as_video(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no frame"):
        media.load_video(tmp_path)


def test_broken_video(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(ValueError, match="cannot be read"):
        media.load_video(path)


def test_video_that_claims_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_video(tmp_path / "video.mp4", 1)
    monkeypatch.setattr(media, "MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(ValueError, match="refused"):
        media.load_video(path)


def test_video_without_pictures(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match="holds no frame"):
        media.load_video(path)
