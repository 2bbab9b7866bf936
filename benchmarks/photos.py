"""The folders of crops that the fidelity tables are measured on.

    pip install "ipcv[eval]" scikit-learn
    python benchmarks/photos.py photos --crops 200

Crops come from the photos that scikit-image, scikit-learn and matplotlib ship, and from pages of
printed words. Each photo is either for calibration or for evaluation, with all its crops. Folders
inside are kinds of content.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from rich.progress import track

from ipcv.bench.scenes import WORDS

SIDE = 448
LEAST = 200
"""The smallest crop, in pixels of the photo."""

SKIMAGE, SKLEARN, MATPLOTLIB = "skimage/data", "sklearn/datasets/images", "matplotlib/mpl-data"
PHOTOS = {
    "evaluation": {
        "photo": (
            f"{SKIMAGE}/astronaut.png",
            f"{SKIMAGE}/camera.png",
            f"{SKIMAGE}/motorcycle_left.png",
            f"{SKIMAGE}/coins.png",
            f"{SKLEARN}/china.jpg",
            f"{MATPLOTLIB}/sample_data/grace_hopper.jpg",
        ),
        "texture": (f"{SKIMAGE}/brick.png", f"{SKIMAGE}/grass.png"),
        "science": (f"{SKIMAGE}/retina.jpg", f"{SKIMAGE}/ihc.png"),
    },
    "calibration": {
        "photo": (
            f"{SKIMAGE}/chelsea.png",
            f"{SKIMAGE}/coffee.png",
            f"{SKIMAGE}/rocket.jpg",
            f"{SKLEARN}/flower.jpg",
        ),
        "texture": (f"{SKIMAGE}/gravel.png",),
        "science": (f"{SKIMAGE}/cell.png", f"{SKIMAGE}/hubble_deep_field.jpg"),
    },
}
FONTS = {"evaluation": "DejaVuSerif", "calibration": "DejaVuSans"}


def photo(name: str) -> Image.Image:
    """A photo that a package ships."""
    package, _, path = name.partition("/")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed: see the first lines of this file")
    return Image.open(Path(spec.origin).parent / path).convert("RGB")


def crops(rng: random.Random, names: tuple[str, ...], count: int) -> Iterator[Image.Image]:
    """Square crops of random place and scale, the photos in turn."""
    for i in range(count):
        image = photo(names[i % len(names)])
        side = rng.uniform(min(LEAST, *image.size), min(image.size))
        left, top = rng.uniform(0, image.width - side), rng.uniform(0, image.height - side)
        box = (left, top, left + side, top + side)
        yield image.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=box)


def pages(rng: random.Random, split: str, count: int) -> Iterator[Image.Image]:
    """Printed words in a few columns, 10 to 24 pixels high, on paper or on ink."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{FONTS[split]}.ttf"
    for _ in range(count):
        size, shade = rng.randint(10, 24), rng.randint(200, 255)
        paper, ink = (
            ((shade,) * 3, (20, 20, 20)) if rng.random() < 0.7 else ((30, 30, 40), (shade,) * 3)
        )
        page, font = Image.new("RGB", (SIDE, SIDE), paper), ImageFont.truetype(str(path), size)
        draw, y = ImageDraw.Draw(page), rng.randint(4, 40)
        while y < SIDE - 2 * size:
            line = " ".join(rng.choices([*WORDS, str(rng.randint(2, 999))], k=12))
            draw.text((rng.randint(8, 14), y), line, fill=ink, font=font)
            y += round(size * rng.choice((1.4, 1.4, 1.4, 3)))
        yield page


def main() -> None:
    """Write the folders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--crops", type=int, default=200, help="per split, over all kinds")
    options = parser.parse_args()
    share = {"photo": 0.5, "texture": 0.15, "science": 0.15, "text": 0.2}
    for split, kinds in PHOTOS.items():
        rng = random.Random(split)
        for kind, part in track(share.items(), split):
            folder = options.out / split / kind
            folder.mkdir(parents=True, exist_ok=True)
            count = round(options.crops * part)
            made = pages(rng, split, count) if kind == "text" else crops(rng, kinds[kind], count)
            for i, image in enumerate(made):
                image.save(folder / f"{i:04}.png")


if __name__ == "__main__":
    main()
