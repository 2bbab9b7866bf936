"""Pictures of every mode come out as they look, on white, or are refused."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from ipcv.inputs import modes
from ipcv.inputs.modes import to_rgb

RAMP = np.linspace(0, 255, 4096).round().reshape(64, 64)
LEVELS = Image.fromarray(RAMP.astype(np.uint8))


def saved(image: Image.Image, kind: str, **options: object) -> Image.Image:
    """As it comes out of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return Image.open(file)


def sixteen_bits(dtype: str) -> Image.Image:
    return Image.fromarray((RAMP * 257).astype(dtype))


def is_ramp(image: Image.Image, within: float = 0) -> bool:
    rgb = to_rgb(image)
    assert rgb.mode == "RGB"
    assert rgb.size == (64, 64)
    return bool(np.abs(np.asarray(rgb, dtype=float) - RAMP[..., None]).max() <= within)


@pytest.mark.parametrize(
    "image",
    [
        saved(sixteen_bits("<u2"), "PNG"),
        saved(sixteen_bits("<u2"), "TIFF"),
        saved(sixteen_bits(">u2"), "TIFF"),
        saved(sixteen_bits("<u2"), "PPM"),
        saved(Image.fromarray((RAMP / 255).astype(np.float32)), "TIFF"),
    ],
)
def test_deep_gray(image: Image.Image) -> None:
    assert image.mode in {"I;16", "I;16B", "I", "F"}
    assert is_ramp(image)


@pytest.mark.parametrize("mode", sorted(set(Image.MODES) - {"1", "F", "I", "LAB"}))
def test_gray_in_every_mode(mode: str) -> None:
    if mode.startswith("I;16"):
        image = sixteen_bits(">u2" if mode == "I;16B" else "<u2")
    elif mode in {"La", "PA", "RGBa"}:
        image = LEVELS.convert({"La": "LA", "PA": "P", "RGBa": "RGBA"}[mode]).convert(mode)
    else:
        image = LEVELS.convert("RGB").convert(mode) if mode == "HSV" else LEVELS.convert(mode)
    assert is_ramp(image, within=2)


def test_black_and_white() -> None:
    image = LEVELS.convert("1", dither=Image.Dither.NONE)
    assert np.array_equal(np.asarray(to_rgb(image))[..., 0] > 0, RAMP > 127)


def test_lab() -> None:
    lab = Image.merge("LAB", [Image.new("L", (4, 4), level) for level in (255, 128, 128)])
    assert np.asarray(to_rgb(lab)).min() > 250


BLACK_SQUARE = Image.new("RGBA", (60, 60), (0, 0, 0, 0))
BLACK_SQUARE.paste((0, 0, 0, 255), (20, 20, 40, 40))
ON_WHITE = np.full((60, 60, 3), 255)
ON_WHITE[20:40, 20:40] = 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: saved(BLACK_SQUARE, "PNG"),
        lambda: saved(BLACK_SQUARE.convert("LA"), "PNG"),
        lambda: saved(BLACK_SQUARE, "WEBP", lossless=True, exact=True),
        lambda: saved(BLACK_SQUARE, "GIF"),
        lambda: saved(BLACK_SQUARE, "TIFF"),
        lambda: saved(BLACK_SQUARE.convert("RGBa").convert("RGBA"), "PNG"),
        lambda: saved(_keyed("L", 9), "PNG", transparency=9),
        lambda: saved(_keyed("RGB", (1, 2, 3)), "PNG", transparency=(1, 2, 3)),
        lambda: saved(BLACK_SQUARE.quantize(2, Image.Quantize.FASTOCTREE), "PNG"),
        lambda: saved(_keyed("1", 1), "PNG", transparency=1),
        lambda: BLACK_SQUARE.convert("RGBa"),
        lambda: BLACK_SQUARE.convert("PA"),
        lambda: BLACK_SQUARE.convert("LA").convert("La"),
    ],
)
def test_transparent_is_white(
    make: Callable[[], Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modes, "ROWS", 7)
    assert np.array_equal(np.asarray(to_rgb(make())), ON_WHITE)


def _keyed(mode: str, key: object) -> Image.Image:
    """A black square on a color that is to be transparent."""
    image = Image.new(mode, (60, 60), key)
    image.paste(0, (20, 20, 40, 40))
    return image


def test_transparent_sixteen_bits() -> None:
    image = saved(sixteen_bits("<u2"), "PNG")
    image.info["transparency"] = int(RAMP[0, 0])
    assert np.asarray(to_rgb(image))[0, 0].tolist() == [255, 255, 255]


def test_half_transparent() -> None:
    image = Image.new("RGBA", (2, 2), (255, 0, 0, 51))
    assert np.asarray(to_rgb(image))[0, 0].tolist() == [255, 204, 204]


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (saved(Image.fromarray(RAMP.astype(np.int32)), "TIFF"), "32-bit integers"),
        (Image.fromarray((RAMP / 100).astype(np.float32)), "beyond"),
        (Image.fromarray(np.full((2, 2), np.nan, np.float32)), "beyond"),
    ],
)
def test_what_does_not_say_what_is_white(image: Image.Image, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        to_rgb(image)
