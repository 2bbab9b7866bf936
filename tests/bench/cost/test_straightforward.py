"""The yardstick for speed does the same work: its outputs are those of the compressed encoder."""

import pytest
import torch

import ipcv
from ipcv.families import adapter_for
from straightforward import straightforward
from tests.vision.adapters.families import FAMILIES, build

METHOD = ipcv.IPCV(1, 0.5, 2, 2, neighbor_scope="item")


@pytest.mark.parametrize(
    ("name", "media"),
    [
        ("qwen2_vl", ["small", "large"]),
        ("qwen2_vl", ["video"]),
        ("qwen2_5_vl", ["small", "large"]),
        ("qwen2_5_vl", ["video"]),
        ("internvl", ["small", "large"]),
    ],
)
@torch.no_grad()
def test_equals_the_compressed_encoder(name, media):
    model = build(name)
    inputs, outputs = FAMILIES[name].inputs(model, [media]), []

    def keep(block, args, output):
        outputs.append(output)

    adapter = adapter_for(model)
    hook = adapter.blocks[-1].register_forward_hook(keep)
    model(**inputs)
    with ipcv.compress(adapter.encoder, METHOD):
        model(**inputs)
    with straightforward(adapter.encoder, METHOD):
        model(**inputs)
    model(**inputs)
    hook.remove()
    before, compressed, plain, after = outputs
    torch.testing.assert_close(plain, compressed, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(plain, before, atol=1e-2)
    assert torch.equal(after, before)
