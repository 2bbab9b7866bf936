"""FLOPs that are counted without weights are those of the model with weights."""

import pytest
import torch

import ipcv
from ipcv.bench.cost import weightless
from ipcv.bench.cost.flops import count_flops
from ipcv.bench.cost.weightless import expected_gflops, without_weights
from ipcv.bench.cost.workload import Workload
from ipcv.bench.variants import Variant
from ipcv.families import find_encoder
from ipcv.inputs.loading import meta_model
from tests.vision.adapters.families import build

METHODS = (
    None,
    ipcv.IPCV(1, 0.5, 1),
    ipcv.Adaptive(0.5),
    ipcv.Adaptive(0.5, smooth_share=1.0),
    ipcv.baselines.ToMe(0.05),
)


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl", "dinov2"])
@pytest.mark.parametrize("large", [1 << 10, 1 << 18], ids=["states", "nothing"])
def test_counts_are_those_with_weights(name, large, monkeypatch):
    monkeypatch.setattr(weightless, "LARGE", large)  # what is left out of the computation
    model, workload = build(name), Workload(112)
    empty = without_weights(meta_model(model.config))
    encoder = find_encoder(model)[1]
    arguments = workload.for_encoder(encoder)
    for method in METHODS:
        variant = Variant(method)
        try:
            with variant.applied(encoder):
                counted = count_flops(lambda: encoder(**arguments))
        except ValueError as refused:
            with pytest.raises(ValueError, match=str(refused).split(":")[0][:30]):
                expected_gflops(empty, variant, workload)
        else:
            # Which patches a window keeps depends on their values.
            exactly = 5e-3 if name == "qwen2_5_vl" else 1e-9
            expected = pytest.approx(counted / 1e9, rel=exactly)
            assert expected_gflops(empty, variant, workload) == expected


def test_a_model_without_weights_takes_no_memory():
    empty = without_weights(meta_model(build("qwen2_vl").config))
    tensors = [*empty.parameters(), *empty.buffers()]
    assert all(tensor.untyped_storage().nbytes() <= 8 for tensor in tensors)
    assert not any(torch.count_nonzero(tensor) for tensor in tensors)
