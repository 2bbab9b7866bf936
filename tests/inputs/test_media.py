import struct
import sys
import weakref
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from ipcv.inputs import decoding, media, modes


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


def save_video(
    path: Path,
    num_frames: int,
    codec: str = "mpeg4",
    size: tuple[int, int] = (64, 48),
    **options: str,
) -> Path:
    """Frames that grow brighter, by 10 levels each and no two alike to the codec, 5 a second."""
    noise = np.random.default_rng(0).integers(0, 3, (num_frames, 48, 64, 3), np.uint8)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(num_frames):
            pixels = 10 * number % 240 + noise[number]
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


@pytest.mark.parametrize("side", [9_999, 40_000])
def test_image_that_claims_too_many_pixels(tmp_path: Path, side: int) -> None:
    with pytest.raises(ValueError, match=r"too many to decode|is refused"):
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
    monkeypatch.setattr(decoding, "FRAME_PIXELS", 64 * 48 - 1)
    for name, codec in {"a.mp4": "mpeg4", "b.mp4": "libx264", "c.webm": "libvpx"}.items():
        with pytest.raises(ValueError, match="more than 3,071 pixels"):
            media.load_video(save_video(tmp_path / name, 1, codec))


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


def test_large_jpegs_are_decoded_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, progressive = tmp_path / "a.jpg", tmp_path / "b.jpg"
    image = Image.linear_gradient("L").resize((400, 300)).convert("RGB")
    image.save(path)
    image.save(progressive, progressive=True)
    monkeypatch.setattr(media, "IMAGE_MEMORY", 8 * 400 * 300)
    assert media.load_image(path).size == (400, 300)
    monkeypatch.setattr(media, "IMAGE_MEMORY", 8 * 400 * 300 - 1)
    smaller = media.load_image(path)
    assert smaller.size == (200, 150)
    expected = np.asarray(image.reduce(2), dtype=float)
    assert np.abs(np.asarray(smaller) - expected).mean() < 1
    assert media.load_image(progressive).size == (100, 75)
    monkeypatch.setattr(media, "IMAGE_MEMORY", 6 * 400 * 300)
    with pytest.raises(ValueError, match="400 x 300 pixels are too many"):
        media.load_image(progressive)


def test_no_more_pixels_than_processors_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    image = Image.linear_gradient("L").resize((400, 300)).convert("RGB")
    image.save(path)
    monkeypatch.setattr(media, "TAKEN_PIXELS", 400 * 300)
    assert media.load_image(path).size == (400, 300)
    monkeypatch.setattr(media, "TAKEN_PIXELS", 200 * 150)
    smaller = media.load_image(path)
    assert smaller.size == (200, 150)
    expected = np.asarray(image.reduce(2), dtype=float)
    assert np.abs(np.asarray(smaller) - expected).mean() < 1


def test_nothing_is_held_on_to_while_an_image_is_scaled_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, alive = [], []

    def convert(image: Image.Image) -> Image.Image:
        read.append(weakref.ref(image))
        return modes.to_rgb(image)

    monkeypatch.setattr(media, "to_rgb", convert)
    monkeypatch.setattr(media, "scaled_down", lambda *_: alive.append(read[0]()))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    media.load_image(tmp_path / "a.png")
    assert alive == [None]


def test_frames_of_a_folder_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in range(1, 13):
        Image.new("L", (8, 8), 20 * number).save(tmp_path / f"frame{number}.png")
    frames = media.load_video(tmp_path, num_frames=12).frames
    assert [np.asarray(frame)[0, 0, 0] // 20 for frame in frames] == list(range(1, 13))


@pytest.mark.parametrize(
    ("brand", "package"), [(b"heic", "pillow-heif"), (b"avif", "pillow>=11.3")]
)
def test_what_would_read_the_file(
    tmp_path: Path, brand: bytes, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(100))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(media.features, "check", lambda name: False)

    def refuse(path: Path) -> Image.Image:
        raise UnidentifiedImageError

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(ValueError, match=f"needs pip install .*{package}"):
        media.load_image(path)


MATRICES = {
    (1, 0, 0, 1): lambda x: x,
    (0, 1, -1, 0): lambda x: np.rot90(x, -1),
    (-1, 0, 0, -1): lambda x: np.rot90(x, 2),
    (0, -1, 1, 0): lambda x: np.rot90(x, 1),
    (-1, 0, 0, 1): np.fliplr,
    (1, 0, 0, -1): np.flipud,
    (0, 1, 1, 0): lambda x: x.swapaxes(0, 1),
    (0, -1, -1, 0): lambda x: np.rot90(x, 2).swapaxes(0, 1),
}
"""Where (a, b, c, d) of a display matrix puts pixel (x, y): at (a x + c y, b x + d y)."""


@pytest.mark.parametrize("matrix", MATRICES)
def test_video_is_upright(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    path = tmp_path / "video.mp4"
    ramp = np.linspace(0, 200, 48 * 64).reshape(48, 64).astype(np.uint8)
    pixels = np.stack([ramp, ramp.T.reshape(48, 64), ramp], axis=-1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    (lying,) = media.load_video(path).frames
    data = bytearray(path.read_bytes())
    a, b, c, d = (x << 16 for x in matrix)
    start = data.find(b"tkhd") + 44
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    (upright,) = media.load_video(path).frames
    assert np.array_equal(np.asarray(upright), MATRICES[matrix](np.asarray(lying)))


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv", "a.webm"])
def test_half_a_video_is_refused(tmp_path: Path, name: str) -> None:
    options = {"movflags": "faststart"} if name == "a.mp4" else {}
    codec = "libvpx" if name == "a.webm" else "mpeg4"
    path = save_video(tmp_path / name, 60, codec, **options)
    assert len(media.load_video(path).frames) == 8
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"is cut off|Invalid data"):
        media.load_video(path)


def test_video_without_a_whole_frame(tmp_path: Path) -> None:
    path = save_video(tmp_path / "a.mkv", 20, "libx264")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(ValueError, match="holds no frame"):
        media.load_video(path)


def test_video_whose_frames_are_larger_than_it_says(tmp_path: Path) -> None:
    path = save_video(tmp_path / "a.webm", 3, "libvpx")
    data = bytearray(path.read_bytes())
    start = data.find(b"\x9d\x01\x2a") + 3  # of the first frame's header; its size follows
    data[start : start + 4] = b"\xff\x3f\xff\x3f"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="cannot be read"):
        media.load_video(path)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])  # which tells its frames, and does not
def test_long_videos_are_refused(tmp_path: Path, name: str) -> None:
    most = decoding.LEAST_PIXELS * 10
    assert len(media.load_video(save_video(tmp_path / name, 10), most_pixels=most).frames) == 8
    with pytest.raises(ValueError, match="too long to decode"):
        media.load_video(save_video(tmp_path / name, 12), most_pixels=most)


def test_sampled_frames_are_bounded_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_video(tmp_path / "a.mp4", 4)
    monkeypatch.setattr(decoding, "SAMPLED_PIXELS", 4 * 32 * 24)
    frames = media.load_video(path).frames
    assert [frame.size for frame in frames] == [(32, 24)] * 4


def test_video_that_pyav_stumbles_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_video(tmp_path / "a.mp4", 1)

    def fail(*_: object, **__: object) -> None:
        raise AttributeError("'VideoStream' object has no attribute 'width'")

    monkeypatch.setattr(av, "open", fail)
    with pytest.raises(ValueError, match="cannot be read: AttributeError: 'VideoStream'"):
        media.load_video(path)
