"""Where on the image a row of hidden states is."""

import pytest
import torch

import ipcv
from ipcv.vision.one_step import OneStepMethod
from tests.vision.adapters.families import FAMILIES, GRIDS, build
from tests.vision.adapters.test_families import captured

METHOD = ipcv.IPCV(1, 0.5, 1, 3)


def layout_of(name, media, monkeypatch):
    """The layout that the engine chose in, and the arguments of the first block."""
    layouts, choose = [], OneStepMethod.choose

    def spy(method, previous, rows, layout):
        layouts.append(layout)
        return choose(method, previous, rows, layout)

    monkeypatch.setattr(OneStepMethod, "choose", spy)
    model = build(name)
    with torch.no_grad(), captured(model) as call, ipcv.compress(model, METHOD):
        model(**FAMILIES[name].inputs(model, [media]))
    return layouts[-1], call["arguments"]


QWEN = [name for name in FAMILIES if name.startswith("qwen")]


@pytest.mark.parametrize("media", [["small", "large"], ["video"]])
@pytest.mark.parametrize("name", QWEN)
def test_packed_rows_are_where_their_rotary_embedding_says(name, media, monkeypatch):
    layout, arguments = layout_of(name, media, monkeypatch)
    frame, y, x = layout.positions().unbind(1)
    cos, sin = arguments["position_embeddings"]
    for position, channel in ((y, 0), (x, 2)):
        torch.testing.assert_close(position.float().cos(), cos[:, channel])
        torch.testing.assert_close(position.float().sin(), sin[:, channel])
    grids = [GRIDS[medium] for medium in media]
    assert frame.tolist() == [i for t, h, w in grids for i in range(t) for _ in range(h * w)]


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in QWEN])
def test_rows_of_a_batch(name, monkeypatch):
    layout, _ = layout_of(name, ["small", "large"], monkeypatch)
    positions = layout.positions()
    model = build(name)
    items = FAMILIES[name].items(model, [["small", "large"]])
    for medium, item in zip(("small", "large"), items, strict=True):
        width = (
            8 if name != "siglip2_vision_model" else FAMILIES[name].items.__self__.grids[medium][1]
        )
        for tile, group in enumerate(item.groups):
            patches = group[item.protected :]
            index = patches % layout.group_lengths[0] - item.protected
            expected = torch.stack([torch.full_like(index, tile), index // width, index % width], 1)
            assert positions[patches].tolist() == expected.tolist()
