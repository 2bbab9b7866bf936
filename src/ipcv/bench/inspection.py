"""One image under a magnifier: kept patches, what rebuilds the rest, and the errors left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from ipcv.bench.quality.fidelity import Observe, patch_errors
from ipcv.bench.variants import Variant
from ipcv.vision.adapters.base import EncoderAdapter
from ipcv.vision.pruning import PruningEngine, PruningMethod
from ipcv.vision.records import Record
from ipcv.vision.selection import Selection

Patch = tuple[int, int]
"""Column and row."""


@dataclass(frozen=True)
class Inspection:
    """One setting on one image. Rows and columns are counted in patches.

    Attributes:
        removed_in: `(rows, columns)` int64, the step in which each patch went, from 1 on; 0: kept.
        neighbors: `(k, 2)` row and column of the patches that rebuild the chosen one; empty where
            that is kept itself, or none was chosen.
        errors: `(token rows, token columns)` of each visual token, relative to the mean norm of
            the uncompressed ones.
    """

    removed_in: Tensor
    neighbors: Tensor
    errors: Tensor

    @property
    def kept(self) -> Tensor:
        """`(rows, columns)` bool, the patches that go through every block."""
        return self.removed_in == 0


def inspect_image(
    model: nn.Module,
    observe: Observe,
    image: Image,
    settings: Mapping[str, PruningMethod],
    patch: Patch | None = None,
) -> dict[str, Inspection]:
    """Inspect an image under several settings, by name.

    Args:
        model: in eval mode, not compressed.
        observe: shows an image to it.
        image: the image.
        settings: the ways to prune.
        patch: the patch whose neighbours are asked for.

    Raises:
        ValueError: the image is several tiles to this encoder, or has no such patch.
    """
    reference = observe(image, Variant())
    if reference.grid is None:
        raise ValueError("this model's visual tokens are no grid: its errors cannot be drawn")
    result = {}
    for name, method in settings.items():
        watched = _Watched(method)
        errors = patch_errors(observe(image, Variant(watched)), reference)
        if not watched.seen:
            raise ValueError(f"{name} removes nothing of this image: there is nothing to inspect")
        places = _places(watched.seen[0], patch)
        result[name] = Inspection(*places, errors.view(reference.grid))
    return result


@dataclass(frozen=True)
class _Watched(PruningMethod):
    """A method that tells what it selects.

    Attributes:
        method: that does the work.
        seen: what it selected, call by call.
    """

    method: PruningMethod
    seen: list[Selection] = field(default_factory=list)

    def engine(self, adapter: EncoderAdapter, record: Record) -> PruningEngine[Any]:
        engine = self.method.engine(adapter, record)
        engine.selected = self.seen.append
        return engine


def _places(selection: Selection, patch: Patch | None) -> tuple[Tensor, Tensor]:
    """The step in which each patch went, and the places of the chosen patch's neighbours."""
    layout = selection.layout
    if len(layout.group_lengths) > 1 or layout.padding is not None:
        raise ValueError("this encoder sees the image as several tiles or padded: not supported")
    places = layout.positions().cpu()[:, 1:]
    rows, columns = (int(n) + 1 for n in places[layout.protected :].max(0).values)
    if patch is not None and not (0 <= patch[1] < rows and 0 <= patch[0] < columns):
        raise ValueError(
            f"there is no patch {patch[0]},{patch[1]}: the image has {columns} x {rows}"
        )
    removed_in = torch.zeros(rows, columns, dtype=torch.int64)
    left, neighbors = torch.arange(len(places)), places[:0]
    for number, step in enumerate(selection.steps, start=1):
        gone, stay = left[step.removed.cpu()], left[step.kept.cpu()]
        removed_in[tuple(places[gone].T)] = number
        found = (places[gone] == torch.tensor(patch[::-1])).all(1) if patch else None
        if found is not None and found.any():
            near = stay[step.reconstruct.neighbors.indices.cpu()[found].flatten()]
            neighbors = places[near[near >= layout.protected]]
        left = stay
    return removed_in, neighbors


VEILS = ((0.0, 0.0, 0.0), (0.0, 0.25, 0.5), (0.0, 0.4, 0.45), (0.2, 0.5, 0.3), (0.5, 0.55, 0.2))
"""Colours over patches that went in the first step, in the second, and so on."""


def veil(removed_in: Tensor) -> Tensor:
    """`(rows, columns, 4)`: a colour for each patch, transparent over kept ones."""
    colours = torch.tensor([(0.0,) * 4, *((*colour, 0.75) for colour in VEILS)])
    return colours[removed_in.clamp(max=len(VEILS))]


def draw(
    image: Image,
    inspections: Mapping[str, Inspection],
    patch: Patch | None,
) -> Any:
    """A figure: the image, above what is kept per setting, and below the errors.

    Raises:
        ImportError: matplotlib is missing.
    """
    from ipcv.bench.plots import pyplot

    plt = pyplot()
    columns, shape = len(inspections), next(iter(inspections.values())).kept.shape
    figure, axes = plt.subplots(
        2, 1 + columns, figsize=(3 * (1 + columns), 6.4), squeeze=False, layout="constrained"
    )
    extent = (-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5)
    highest = max(float(one.errors.max()) for one in inspections.values())
    axes[0][0].imshow(image, extent=extent, aspect="equal")
    axes[0][0].set_title(f"{shape[1]} x {shape[0]} patches")
    shown = None
    for (top, bottom), (name, one) in zip(axes.T[1:], inspections.items(), strict=True):
        top.imshow(image, extent=extent)
        top.imshow(veil(one.removed_in).numpy(), extent=extent)
        top.set_title(f"{name}: {int(one.kept.sum()):,} kept")
        _mark(top, patch, one.neighbors)
        errors = one.errors.numpy()
        shown = bottom.imshow(errors, extent=extent, cmap="cividis", vmin=0, vmax=highest)
        bottom.set_title(f"error, mean {float(one.errors.mean()):.3f}")
    figure.colorbar(shown, ax=axes[1][1:], shrink=0.8)
    for each in axes.flat:
        each.axis("off")
    return figure


def _mark(axes: Any, patch: Patch | None, neighbors: Tensor) -> None:
    if patch is None:
        return
    axes.plot(*patch, "x", color="#D55E00", markersize=9, markeredgewidth=2)
    places: list[list[int]] = neighbors.tolist()
    for row, column in places:
        axes.plot(column, row, "s", color="#56B4E9", markersize=5, fillstyle="none")
        axes.plot((patch[0], column), (patch[1], row), color="#56B4E9", linewidth=0.8)
