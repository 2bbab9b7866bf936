"""The folders of pictures that the fidelity tables are measured on, by kind of content.

    pip install "ipcv[eval]" scikit-learn pypdfium2
    python benchmarks/pictures.py pictures

What free packages ship: photos, textures and science from Python's, screens, charts and documents
from Debian's, which `apt-get` fetches. Each package's pictures of a kind are either for calibration
or for evaluation. `packages.txt` names the versions.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from PIL import Image
from rich.progress import track

SKIMAGE, SKLEARN, MATPLOTLIB = "skimage/data", "sklearn/datasets/images", "matplotlib/mpl-data"
MANUAL, HTML = "usr/share/doc", "usr/share/doc/HTML/en"
PICTURES = {
    "evaluation": {
        "photo": (
            f"{SKIMAGE}/astronaut.png",
            f"{SKIMAGE}/camera.png",
            f"{SKIMAGE}/motorcycle_left.png",
            f"{SKIMAGE}/coins.png",
            f"{SKLEARN}/china.jpg",
            f"{MATPLOTLIB}/sample_data/grace_hopper.jpg",
            "debian:mate-backgrounds/usr/share/backgrounds/mate/nature/*.jpg",
        ),
        "texture": (f"{SKIMAGE}/brick.png", f"{SKIMAGE}/grass.png"),
        "science": (f"{SKIMAGE}/retina.jpg", f"{SKIMAGE}/ihc.png"),
        "screen": (f"debian:kate5-data/{HTML}/*/*.png", f"debian:marble-data/{HTML}/marble/*.png"),
        "chart": (
            f"debian:python-sklearn-doc/{MANUAL}/python-sklearn-doc/html/_images/sphx_glr_*_0*.png",
            f"debian:maxima-doc/{MANUAL}/maxima-doc/html/figures/*.png",
        ),
        "document": (
            f"debian:octave-doc/{MANUAL}/octave/octave.pdf",
            f"debian:ghostscript-doc/{MANUAL}/ghostscript/GS9_Color_Management.pdf",
        ),
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
        "screen": (
            f"debian:debian-handbook/{MANUAL}/debian-handbook/html/en-US/images/*.png",
            "debian:gnome-user-docs/usr/share/help/C/gnome-help/figures/shell-*.png",
        ),
        "chart": (
            f"debian:python-pandas-doc/{MANUAL}/python-pandas-doc/html/_images/*.png",
            f"debian:python-scipy-doc/{MANUAL}/python-scipy-doc/html/_images/*.png",
        ),
        "document": (f"debian:gnuplot-doc/{MANUAL}/gnuplot/gnuplot.pdf",),
    },
}
LEAST = {"screen": 0.7, "chart": 0.7, "document": 0.8}
"""The smallest crops, in sides of what is written. These are to be read; others take 0.45."""


def files(source: str, packages: Path) -> list[Path]:
    """The pictures and documents that a package ships under a pattern."""
    where, _, pattern = source.removeprefix("debian:").partition("/")
    root = debian(where, packages) if source.startswith("debian:") else python(where)
    found = sorted(path for path in root.glob(pattern) if not path.is_symlink())
    if not found:
        raise SystemExit(f"{source} matches no file: another version of the package?")
    return found


def python(package: str) -> Path:
    """Where an installed package lies."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed: see the first lines of this file")
    return Path(spec.origin).parent


def debian(package: str, packages: Path) -> Path:
    """What a package of Debian contains, fetched and unpacked where it is not yet."""
    folder = packages / package
    if not folder.exists():
        if not shutil.which("apt-get"):
            raise SystemExit(f"apt-get, which fetches Debian's {package}, is not here")
        packages.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "-qq", package], cwd=packages, check=True)
        (archive,) = packages.glob(f"{package}_*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)
    return folder


def pictures(
    paths: list[Path], rng: random.Random, side: int, least: float
) -> Iterator[Image.Image]:
    """The pictures in these files in random order, again and again, small ones left out."""
    while True:
        for path in rng.sample(paths, len(paths)):
            picture = page(path, rng, side) if path.suffix == ".pdf" else on_white(path)
            if min(picture.size) >= least:
                yield picture


def page(path: Path, rng: random.Random, side: int) -> Image.Image:
    """Any page of a document, one and a half times as wide as the pictures are to be."""
    from pypdfium2 import PdfDocument

    with PdfDocument(path) as document:
        sheet = document[rng.randrange(len(document))]
        picture: Image.Image = sheet.render(scale=1.5 * side / min(sheet.get_size())).to_pil()
        return picture.convert("RGB")


def on_white(path: Path) -> Image.Image:
    """A picture without transparency."""
    picture = Image.open(path).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def crop(picture: Image.Image, rng: random.Random, side: int, least: float) -> Image.Image:
    """A square of random place and of a size between `least` and what is there."""
    width = rng.uniform(least, min(picture.size))
    left, top = rng.uniform(0, picture.width - width), rng.uniform(0, picture.height - width)
    box = (left, top, left + width, top + width)
    return picture.resize((side, side), Image.Resampling.LANCZOS, box=box)


def main() -> None:
    """Write the folders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--each", type=int, default=24, help="pictures of each kind, per split")
    parser.add_argument("--side", type=int, default=448, help="of the pictures, in pixels")
    options = parser.parse_args()
    packages = options.out / "packages"
    for split, kinds in PICTURES.items():
        rng = random.Random(split)
        for kind, sources in track(kinds.items(), split):
            folder = options.out / split / kind
            folder.mkdir(parents=True, exist_ok=True)
            least = LEAST.get(kind, 0.45) * options.side
            turns = [pictures(files(s, packages), rng, options.side, least) for s in sources]
            for i in range(options.each):
                made = crop(next(turns[i % len(turns)]), rng, options.side, least)
                made.save(folder / f"{i:04}.png")
    versions = sorted(path.stem for path in packages.glob("*.deb"))
    (options.out / "packages.txt").write_text("\n".join(versions) + "\n")


if __name__ == "__main__":
    main()
