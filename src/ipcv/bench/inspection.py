"""One image under a magnifier: kept patches, what rebuilds the rest, and the errors left."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from ipcv.bench.quality.fidelity import Observe, patch_errors
from ipcv.bench.variants import Variant
from ipcv.core.arguments import Arguments, bind
from ipcv.families import adapter_for
from ipcv.vision.adapters.base import EncoderAdapter
from ipcv.vision.layout import Layout
from ipcv.vision.one_step import OneStepMethod


@dataclass(frozen=True)
class Inspection:
    """One setting on one image. Rows and columns are counted in patches.

    Attributes:
        kept: `(rows, columns)` bool, the patches that go through every block.
        neighbors: `(k, 2)` row and column of the kept patches that rebuild the chosen one; empty
            where that is kept itself, or none was chosen.
        errors: `(token rows, token columns)` of each visual token, relative to the mean norm of
            the uncompressed ones.
    """

    kept: Tensor
    neighbors: Tensor
    errors: Tensor


@dataclass
class _States:
    """What the uncompressed encoder had at the pruning layer."""

    layout: Layout | None = None
    previous: Tensor | None = None
    rows: Tensor | None = None


def inspect_image(
    model: nn.Module,
    observe: Observe,
    image: Image,
    settings: Mapping[str, OneStepMethod],
    patch: tuple[int, int] | None = None,
) -> dict[str, Inspection]:
    """Inspect an image under several settings, by name.

    Args:
        model: in eval mode, not compressed.
        observe: shows an image to it.
        image: the image.
        settings: the ways to prune.
        patch: column and row of a patch whose neighbours are asked for.

    Raises:
        ValueError: the image is several tiles to this encoder, or has no such patch.
    """
    result = {}
    for name, method in settings.items():
        with _captured(adapter_for(model), method.prune_layer) as states:
            reference = observe(image, Variant())
        kept, neighbors = _choice(states, method, patch)
        errors = patch_errors(observe(image, Variant(method)), reference)
        if reference.grid is None:
            raise ValueError("this model's visual tokens are no grid: its errors cannot be drawn")
        result[name] = Inspection(kept, neighbors, errors.view(reference.grid))
    return result


@contextmanager
def _captured(adapter: EncoderAdapter, layer: int) -> Iterator[_States]:
    states, context = _States(), list[Any]()

    def enter(module: nn.Module, args: Any, kwargs: Arguments) -> None:
        arguments = bind(inspect.signature(module.forward), args, kwargs)
        context.append(adapter.open(arguments, ()))

    def record(name: str, block: nn.Module, args: Any, kwargs: Arguments) -> None:
        hidden_states = bind(inspect.signature(block.forward), args, kwargs)["hidden_states"]
        states.layout = adapter.layout(context[-1], hidden_states)
        setattr(states, name, adapter.rows(hidden_states))

    hooks = [adapter.encoder.register_forward_pre_hook(enter, with_kwargs=True)]
    for name, index in (("previous", max(0, layer - 1)), ("rows", layer)):
        block = adapter.blocks[index]
        hook = block.register_forward_pre_hook(partial(record, name), with_kwargs=True)
        hooks.append(hook)
    try:
        yield states
    finally:
        for hook in hooks:
            hook.remove()


def _choice(
    states: _States, method: OneStepMethod, patch: tuple[int, int] | None
) -> tuple[Tensor, Tensor]:
    """The mask of kept patches, and the places of the chosen patch's neighbours."""
    assert states.layout is not None
    assert states.previous is not None
    assert states.rows is not None
    layout = states.layout
    if len(layout.group_lengths) > 1 or layout.padding is not None:
        raise ValueError("this encoder sees the image as several tiles or padded: not supported")
    positions = layout.positions().cpu()
    places = positions[layout.protected :, 1:]
    shape = [int(n) + 1 for n in places.max(0).values]
    choice = method.choose(states.previous, states.rows, layout)
    kept = torch.zeros(shape, dtype=torch.bool)
    kept[tuple(positions[choice.kept.cpu(), 1:][layout.protected :].T)] = True
    if patch is None or choice.keeps_all:
        return kept, torch.empty(0, 2, dtype=torch.int64)
    column, row = patch
    if not (0 <= row < shape[0] and 0 <= column < shape[1]):
        raise ValueError(f"there is no patch {column},{row}: the image has {shape[1]} x {shape[0]}")
    selection = method.select(choice, states.rows)
    found = (positions[choice.removed.cpu(), 1:] == torch.tensor([row, column])).all(1).nonzero()
    indices = selection.steps[0].reconstruct.neighbors.indices.cpu()[found.flatten()].flatten()
    neighbors = choice.kept.cpu()[indices]
    return kept, positions[neighbors[neighbors >= layout.protected], 1:]


def draw(
    image: Image,
    inspections: Mapping[str, Inspection],
    patch: tuple[int, int] | None,
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
        veil = torch.zeros(*shape, 4)
        veil[..., 3] = 0.75 * ~one.kept
        top.imshow(veil.numpy(), extent=extent)
        top.set_title(f"{name}: {int(one.kept.sum()):,} kept")
        _mark(top, patch, one.neighbors)
        errors = one.errors.numpy()
        shown = bottom.imshow(errors, extent=extent, cmap="cividis", vmin=0, vmax=highest)
        bottom.set_title(f"error, mean {float(one.errors.mean()):.3f}")
    figure.colorbar(shown, ax=axes[1][1:], shrink=0.8)
    for each in axes.flat:
        each.axis("off")
    return figure


def _mark(axes: Any, patch: tuple[int, int] | None, neighbors: Tensor) -> None:
    if patch is None:
        return
    axes.plot(*patch, "x", color="#D55E00", markersize=9, markeredgewidth=2)
    places: Sequence[Sequence[int]] = neighbors.tolist()
    for row, column in places:
        axes.plot(column, row, "s", color="#56B4E9", markersize=5, fillstyle="none")
        axes.plot((patch[0], column), (patch[1], row), color="#56B4E9", linewidth=0.8)
