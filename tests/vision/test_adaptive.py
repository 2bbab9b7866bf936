"""Adaptive pruning against loops over single tokens."""

import math
from types import SimpleNamespace

import pytest
import torch

import ipcv
from ipcv.families import adapter_for
from ipcv.vision import adaptive
from ipcv.vision.adaptive import Adaptive
from ipcv.vision.matching import beside_places, match, smoothest
from tests.vision.adapters.families import FAMILIES, build
from tests.vision.adapters.test_families import captured, flat, identical
from tests.vision.test_progressive import plain_progressive, positions_of


def plain_beside(keys, places):
    """Unit keys, and the angles of rows and columns, token by token."""
    extent = 1 + max(max(place[1:]) for place in places.tolist())
    rows = []
    for key, (_, *place) in zip(keys.tolist(), places.tolist(), strict=True):
        angles = [2.4 * x / extent for x in place]
        norm = math.hypot(*key)
        circles = [0.3 * f(angle) for f in (math.cos, math.sin) for angle in angles]
        rows.append([x / norm for x in key] + circles)
    return torch.tensor(rows)


def as_loops(method):
    """What the loops over single tokens ask of a method."""
    return SimpleNamespace(
        removed_before=method.removed_before,
        removed_per_block=method.removed_per_block,
        reconstruction="linear",
        num_neighbors=adaptive.NUM_NEIGHBORS,
    )


@pytest.mark.parametrize(
    "method", [Adaptive(0.4), Adaptive(0.9, smooth_share=0.3), Adaptive(0.5, smooth_share=0)]
)
@pytest.mark.parametrize(
    ("name", "media"),
    [
        ("qwen2_vl", ["small", "large"]),
        ("qwen2_vl", ["video"]),
        ("dinov2", ["small", "another"]),
        ("siglip_vision_model", ["small"]),
    ],
)
def test_equals_plain_loops(name, media, method):
    model = build(name)
    inputs, adapter = FAMILIES[name].inputs(model, [media]), adapter_for(model)
    with torch.no_grad():
        with captured(model) as call, ipcv.compress(model, method):
            model(**inputs)
        compressed = flat(call["last"])
        with captured(model) as call:
            model(**inputs)
        arguments, places = call["arguments"], positions_of(model, inputs)
        start = flat(arguments["hidden_states"])
        for item in FAMILIES[name].items(model, [media]):
            for rows in item.segments(0):
                expected = plain_progressive(
                    name,
                    adapter.blocks,
                    start[rows],
                    rows,
                    places[rows],
                    as_loops(method),
                    item.protected,
                    arguments,
                    plain_beside,
                )
                torch.testing.assert_close(compressed[rows], expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["qwen2_vl", "internvl", "llava-siglip", "dinov2"])
def test_an_image_is_as_alone(name):
    model = build(name)
    media = ["small", "large"]
    items = FAMILIES[name].items(model, [media])
    with torch.no_grad(), ipcv.compress(model, Adaptive(0.6)), captured(model) as call:
        model(**FAMILIES[name].inputs(model, [media]))
        together = flat(call["last"])
        for medium, item in zip(media, items, strict=True):
            model(**FAMILIES[name].inputs(model, [[medium]]))
            expected = together[torch.cat(item.groups)]
            torch.testing.assert_close(flat(call["last"]), expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen3_vl", "clip_vision_model"])
def test_removal_and_ratio_0_leave_no_trace(name):
    model = build(name)
    inputs = FAMILIES[name].inputs(model, [["small"]])
    with torch.no_grad():
        before = model(**inputs)[0]
        with ipcv.compress(model, Adaptive(0)):
            assert identical(model(**inputs)[0], before)
        with ipcv.compress(model, Adaptive(0.5)):
            pruned = model(**inputs)[0]
        assert pruned.shape == before.shape
        assert not identical(pruned, before)
        assert identical(model(**inputs)[0], before)


def test_places_part_tokens_of_equal_keys():
    """The candidate is the first, which takes the nearer one of two equal counterparts."""
    keys = torch.ones(1, 4, 8)
    places = torch.tensor([[[0, 0, 0], [0, 9, 9], [0, 5, 5], [0, 0, 1]]])
    kept, destination = match(beside_places(keys, places), 1)
    assert kept.tolist() == [[1, 2, 3]]
    assert destination.tolist() == [[2, 0, 1, 2]]


def test_places_of_other_groups_do_not_matter():
    keys, places = torch.randn(2, 6, 8), torch.randint(0, 20, (2, 6, 3))
    places[1] *= 3
    together = beside_places(keys, places)
    torch.testing.assert_close(together[:1], beside_places(keys[:1], places[:1]))
    torch.testing.assert_close(together[1:], beside_places(keys[1:], places[1:]))


@pytest.mark.parametrize("patches", [256, 1024])
def test_ties_are_spread_over_the_picture(patches):
    """Of a picture of one colour, as much is removed below as above."""
    side = math.isqrt(patches)
    places = torch.cartesian_prod(*map(torch.arange, (1, side, side)))[None]
    states = torch.ones(1, patches, 8)
    for kept, _ in (smoothest(states, places, patches // 4), match(states, patches // 4)):
        above = int((kept < patches // 2).sum())
        assert abs(above - kept.shape[1] / 2) < patches / 32


@pytest.mark.parametrize(("patches", "depth"), [(1000, 12), (256, 8), (100, 1), (64, 27)])
def test_schedule(patches, depth):
    method = Adaptive(0.6, smooth_share=0.5)
    counts = method.removed_per_block(patches, depth)
    total = method.removed_before(patches) + sum(counts)
    assert len(counts) == depth
    assert abs(total - 0.6 * patches) <= 2
    assert sum(count > 0 for count in counts) <= 4
    assert not any(counts[depth // 2 + 1 :])


@pytest.mark.parametrize("settings", [{"reduction_ratio": 1}, {"smooth_share": 1.1}])
def test_settings_are_checked(settings):
    with pytest.raises(ValueError, match="must be"):
        Adaptive(**settings)


def test_settings_round_trip():
    method = Adaptive(0.7, 0.3)
    assert Adaptive.from_dict(method.to_dict()) == method


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_an_image_of_one_colour(share):
    model = build("dinov2")
    with torch.no_grad(), ipcv.compress(model, Adaptive(0.5, smooth_share=share)):
        assert model(pixel_values=torch.ones(1, 3, 32, 32))[0].isfinite().all()
