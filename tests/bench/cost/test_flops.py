import pytest
import torch
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel

import ipcv
from ipcv.bench.cost.flops import count_flops

WIDTH, DEPTH, OUT = 32, 6, 48


@pytest.fixture
def encoder() -> Qwen2VisionTransformerPretrainedModel:
    config = Qwen2VLVisionConfig(depth=DEPTH, embed_dim=WIDTH, hidden_size=OUT, num_heads=4)
    return Qwen2VisionTransformerPretrainedModel(config).eval()


def block(queries: int, keys: int) -> int:
    """Closed form: query and output projections, keys and values, attention, MLP of ratio 4."""
    projections = 2 * queries * WIDTH**2 + 2 * keys * WIDTH**2
    attention = 2 * queries * keys * WIDTH
    return 2 * (projections + attention + 8 * queries * WIDTH**2)


def ends(patches: int) -> int:
    """Patch embedding and merger."""
    merged = patches // 4
    return 2 * (patches * 1176 * WIDTH + merged * (16 * WIDTH**2 + 4 * WIDTH * OUT))


def test_uncompressed_count_is_the_closed_form(
    encoder: Qwen2VisionTransformerPretrainedModel,
) -> None:
    inputs = torch.randn(256, 1176), torch.tensor([[1, 16, 16]])
    assert count_flops(lambda: encoder(*inputs)) == ends(256) + DEPTH * block(256, 256)


def test_compressed_count_is_the_closed_form(
    encoder: Qwen2VisionTransformerPretrainedModel,
) -> None:
    inputs = torch.randn(256, 1176), torch.tensor([[1, 16, 16]])
    settings = ipcv.IPCV(prune_layer=1, stabilization_layers=2, num_neighbors=10)
    with ipcv.compress(encoder, settings):
        counted = count_flops(lambda: encoder(*inputs))
    kept = int(256 * 0.35)
    removed = 256 - kept
    blocks = block(256, 256) + 2 * block(kept, 256) + (DEPTH - 3) * block(kept, kept)
    search = 2 * removed * kept * WIDTH
    rebuilt = 3 * removed * 10 * WIDTH  # once for the base, in block 2, and at the end
    assert counted == ends(256) + blocks + search + rebuilt
