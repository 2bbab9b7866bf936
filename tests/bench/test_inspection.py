"""What is drawn is what the engine does."""

import pytest
import torch
from PIL import Image

import ipcv
from ipcv.bench.inspection import draw, inspect_image
from ipcv.bench.quality.observe import observer
from ipcv.families import adapter_for
from ipcv.inputs.loading import load
from ipcv.inputs.overlay import patch_mask
from ipcv.inputs.prompt import Media, build_inputs
from tests.vision.adapters.families import build

IMAGE = Image.radial_gradient("L").resize((112, 84)).convert("RGB")
METHOD = ipcv.IPCV(prune_layer=2, reduction_ratio=0.6, num_neighbors=3)


def test_kept_patches_are_the_handles(checkpoint):
    model, processor = load(checkpoint, device="cpu")
    observe = observer(model, processor, new_tokens=1)
    found = inspect_image(model, observe, IMAGE, {"ipcv": METHOD})["ipcv"]
    inputs = build_inputs(model, processor, [Media((IMAGE,))], "Describe the image.")
    with torch.no_grad(), ipcv.compress(model, METHOD) as handle:
        model(**inputs)
    expected = patch_mask(inputs["image_grid_thw"][0].tolist(), handle.kept_indices[0])[0]
    assert torch.equal(found.kept, expected)
    assert found.errors.shape == (expected.shape[0] // 2, expected.shape[1] // 2)


def test_neighbours_are_the_nearest_kept():
    model = build("dinov2")
    observe = observer(model, None, side=32)
    states = []
    hook = (
        adapter_for(model)
        .blocks[2]
        .register_forward_pre_hook(
            lambda _, args, kwargs: states.append(
                (args[0] if args else kwargs["hidden_states"])[0, 1:]
            ),
            with_kwargs=True,
        )
    )
    kept = inspect_image(model, observe, IMAGE, {"": METHOD})[""].kept
    hook.remove()
    rows = states[0].view(8, 8, -1)
    row, column = (~kept).nonzero()[5].tolist()
    found = inspect_image(model, observe, IMAGE, {"": METHOD}, (column, row))[""].neighbors
    distance = {
        tuple(place): float((rows[row, column] - rows[tuple(place)]).norm())
        for place in kept.nonzero().tolist()
    }
    nearest = sorted(distance, key=distance.__getitem__)[:3]
    assert set(map(tuple, found.tolist())) <= set(nearest)
    assert len(found) >= 2  # CLS may be one of the three
    row, column = kept.nonzero()[0].tolist()
    assert not len(inspect_image(model, observe, IMAGE, {"": METHOD}, (column, row))[""].neighbors)


def test_steps_and_what_follows_what(checkpoint):
    """Of a method that removes in several steps, whose later ones may take a neighbour away."""
    model, processor = load(checkpoint, device="cpu")
    observe, method = observer(model, processor, new_tokens=1), ipcv.Adaptive(0.7)
    found = inspect_image(model, observe, IMAGE, {"": method})[""]
    inputs = build_inputs(model, processor, [Media((IMAGE,))], "Describe the image.")
    with torch.no_grad(), ipcv.compress(model, method) as handle:
        model(**inputs)
    (item,) = handle.stats.calls[-1].items
    expected = patch_mask(inputs["image_grid_thw"][0].tolist(), handle.kept_indices[0])[0]
    assert torch.equal(found.kept, expected)
    gone = found.removed_in.flatten().bincount()[1:].cumsum(0)
    assert set(item.tokens_per_block) <= set((item.patches - gone).tolist())
    row, column = (found.removed_in == 1).nonzero()[0].tolist()
    neighbors = inspect_image(model, observe, IMAGE, {"": method}, (column, row))[""].neighbors
    assert len(neighbors)
    assert (found.removed_in[tuple(neighbors.T)] != 1).all()


def test_a_figure_of_all_settings():
    model = build("dinov2")
    settings = {"a": METHOD, "b": ipcv.IPCV(2, 0.3)}
    found = inspect_image(model, observer(model, None, side=32), IMAGE, settings, (1, 2))
    figure = draw(IMAGE, found, (1, 2))
    titles = {axes.get_title() for axes in figure.axes}
    assert {"8 x 8 patches", "a: 25 kept", "b: 44 kept"} <= titles


def test_bad_patches_and_tiles():
    model = build("dinov2")
    observe = observer(model, None, side=32)
    with pytest.raises(ValueError, match="no patch 8,0: the image has 8 x 8"):
        inspect_image(model, observe, IMAGE, {"": METHOD}, (8, 0))
