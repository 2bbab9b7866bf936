"""Maps of the information lost: errors per patch, by method, of one crop of every kind.

python benchmarks/error_maps.py facebook/dinov2-small pictures/evaluation
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ipcv.bench.plots import pyplot, save
from ipcv.bench.quality.fidelity import Observe, find_images, patch_errors
from ipcv.bench.quality.observe import crop, observer
from ipcv.bench.variants import UNCOMPRESSED, Variant, make_variants
from ipcv.inputs.loading import load
from ipcv.inputs.media import load_image

SIDE = 448
PICTURE = Path(__file__).parent / "results" / "error-maps.png"
SHOWN = (
    ("published", 0.65),
    ("tome-decreasing", 0.8),
    ("adaptive", 0.65),
    ("downsample", 0.5),
)
"""At about half of the encoder's time each."""

MOST = 1.0
"""The error, relative to the mean norm of the features, that is drawn brightest."""


def draw_row(row: Any, model: Any, observe: Observe, path: Path) -> None:
    """The crop, and then a map of each method, with its cosine."""
    image = load_image(path)
    reference = observe(image, Variant())
    assert reference.grid is not None
    row[0].imshow(crop(model, image, SIDE))
    row[0].set_ylabel(path.parent.name)
    for axes, (method, ratio) in zip(row[1:], SHOWN, strict=True):
        variants = make_variants(model, [method], [ratio])
        (variant,) = (v for name, v in variants.items() if name != UNCOMPRESSED)
        seen = observe(image, variant)
        errors = patch_errors(seen, reference).view(reference.grid)
        axes.imshow(errors, vmin=0, vmax=MOST, cmap="magma")
        axes.set_xlabel(f"mean error {errors.mean():.2f}")


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("dinov2", help="folder or hub id")
    parser.add_argument("images", type=Path, help="folder of images, whose folders are kinds")
    options = parser.parse_args()
    model, _ = load(options.dinov2, encoder_alone=True)
    observe = observer(model, None, side=SIDE)
    first = {path.parent: path for path in reversed(find_images(options.images))}
    kinds = sorted(first)
    plt = pyplot()
    shape = len(kinds), 1 + len(SHOWN)
    size = {"figsize": (2 * shape[1], 2.2 * shape[0]), "layout": "constrained"}
    figure, rows = plt.subplots(*shape, squeeze=False, **size)
    for row, kind in zip(rows, kinds, strict=True):
        draw_row(row, model, observe, first[kind])
    for axes, title in zip(rows[0, 1:], SHOWN, strict=True):
        axes.set_title("{} {:g}".format(*title), fontsize="medium")
    for axes in rows.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    save(figure, PICTURE)


if __name__ == "__main__":
    main()
