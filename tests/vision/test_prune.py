"""The ablations are IPCV with other parts."""

import torch

import ipcv
from ipcv import baselines
from tests.vision.adapters.families import FAMILIES, build

SETTINGS = {"prune_layer": 1, "reduction_ratio": 0.6, "num_neighbors": 3}


def output(method):
    model = build("dinov2")
    with torch.no_grad(), ipcv.compress(model, method) as handle:
        states = model(**FAMILIES["dinov2"].inputs(model, [["small", "another"]]))[0]
    return states, handle.kept_indices


def test_each_is_ipcv_with_other_parts():
    for method, parts in (
        (baselines.RandomPrune(**SETTINGS), {"selector": "random"}),
        (baselines.UniformPrune(**SETTINGS), {"selector": "uniform"}),
        (baselines.PruneOnly(**SETTINGS), {"reconstruction": "none", "stabilization_layers": 0}),
    ):
        expected, kept = output(ipcv.IPCV(**SETTINGS | parts))
        states, kept_too = output(method)
        assert torch.equal(states, expected)
        assert all(map(torch.equal, kept, kept_too))


def test_images_keep_the_same_patches_unless_somebody_looks():
    for method in (baselines.RandomPrune(**SETTINGS), baselines.UniformPrune(**SETTINGS)):
        _, (first, second) = output(method)
        assert torch.equal(first, second)
    _, (first, second) = output(baselines.PruneOnly(**SETTINGS))
    assert not torch.equal(first, second)
