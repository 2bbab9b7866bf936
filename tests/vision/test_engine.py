"""The engine under what people do to models: dtypes, offloading, adapters, quantized layers."""

from copy import deepcopy

import accelerate
import peft
import pytest
import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import ipcv
from ipcv.families import adapter_for
from ipcv.vision.adapters.base import is_plain_linear
from tests.vision.adapters.families import FAMILIES, build

METHOD = ipcv.IPCV(prune_layer=1, reduction_ratio=0.65, stabilization_layers=2, num_neighbors=3)
# One family per shape of encoder, and per name of projections.
SHAPES = ["qwen2_5_vl", "qwen3_vl", "internvl", "llava-clip", "smolvlm", "dinov3_vit"]
shapes = pytest.mark.parametrize("name", SHAPES)


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


def copy(name):
    """A model of its own and a prompt of two images."""
    model = deepcopy(build(name))
    return model, FAMILIES[name].inputs(model, [["small", "large"]])


def compressed(model, inputs, method=METHOD):
    with ipcv.compress(model, method):
        return model(**inputs)[0]


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@shapes
def test_half_precision(name, dtype):
    model, inputs = copy(name)
    before = model(**inputs)[0]
    expected = compressed(model, inputs)
    output = compressed(model.to(dtype), inputs)
    assert output.dtype == dtype
    # Other patches may win than in fp32: no further away than compression itself.
    assert (output.float() - expected).norm() < (before - expected).norm()


@shapes
def test_inference_mode(name):
    model, inputs = copy(name)
    expected = compressed(model, inputs)
    with torch.inference_mode():
        assert torch.equal(compressed(model, inputs), expected)


@shapes
def test_gradients_flow(name):
    model, inputs = copy(name)
    with torch.enable_grad():
        compressed(model, inputs).sum().backward()
    for block in adapter_for(model).blocks[:-1]:  # LLaVA does not use the last one
        assert all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
@shapes
def test_gradient_checkpointing_in_eval(name):
    model, inputs = copy(name)
    expected = compressed(model, inputs)
    model.gradient_checkpointing_enable()
    with torch.enable_grad():
        assert torch.equal(compressed(model, inputs), expected)
    with pytest.raises(RuntimeError, match="gradient checkpointing"):
        compressed(model.train(), inputs)


@shapes
def test_accelerate_hooks(name):
    model, inputs = copy(name)
    expected = compressed(model, inputs)
    before = model(**inputs)[0]
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    assert_close(compressed(model, inputs), expected)
    assert_close(model(**inputs)[0], before)


@shapes
def test_hooks_added_while_compressed_survive_removal(name):
    model, inputs = copy(name)
    before = model(**inputs)[0]
    expected = compressed(model, inputs)
    with ipcv.compress(model, METHOD):
        accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
        assert_close(model(**inputs)[0], expected)
    assert_close(model(**inputs)[0], before)


class OtherLinear(nn.Module):
    """Stands for a quantized layer: no `nn.Linear`, and nothing to slice."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


@shapes
def test_layers_that_are_not_linear(name):
    model, inputs = copy(name)
    expected = compressed(model, inputs)
    for block in adapter_for(model).blocks:
        attention = adapter_for(model).attention(block)
        for child, layer in list(attention.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(attention, child, OtherLinear(layer))
    assert_close(compressed(model, inputs), expected)


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
@shapes
def test_lora(name):
    model, inputs = copy(name)
    names = {"q_proj", "v_proj", "qkv", "proj", "out_proj", "projection_layer", "o_proj"}
    encoder = adapter_for(model).encoder
    targets = [
        path
        for path, module in model.named_modules()
        if path.rsplit(".", 1)[-1] in names and module in set(encoder.modules())
    ]
    config = peft.LoraConfig(r=2, target_modules=targets, init_lora_weights=False)
    before = compressed(model, inputs)
    wrapped = peft.get_peft_model(model, config).eval()
    tuned = compressed(wrapped, inputs)
    assert not torch.allclose(tuned, before)
    assert_close(compressed(wrapped.merge_and_unload(), inputs), tuned)


def test_plain_linear():
    linear = nn.Linear(2, 2)
    assert is_plain_linear(linear)
    assert not is_plain_linear(OtherLinear(linear))
    assert not is_plain_linear(nn.Linear(2, 2, device="meta"))
    handle = linear.register_forward_hook(lambda *_: None)
    assert not is_plain_linear(linear)
    handle.remove()
    assert is_plain_linear(linear)


def snapshot(model):
    """Everything that hooks and replaced methods leave on modules, but capture hooks."""
    return {
        path: (
            len(module._forward_pre_hooks),
            sorted(key for key, value in vars(module).items() if callable(value)),
        )
        for path, module in model.named_modules()
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_removal_leaves_nothing_behind(name):
    model = build(name)
    before = snapshot(model)
    ipcv.compress(model, METHOD).remove()
    assert snapshot(model) == before


@pytest.mark.parametrize("around", [True, False])
def test_tiles_of_an_internvl_are_items_where_nothing_says_what_makes_up_an_image(around):
    model = build("internvl")
    inputs = FAMILIES["internvl"].inputs(model, [["small", "large"]])
    with ipcv.compress(model, ipcv.IPCV(1, 0.5, 2, 3)) as handle:
        if around:
            model(**inputs)
        else:
            model.get_image_features(inputs["pixel_values"])
    assert len(handle.stats.calls[-1].items) == (2 if around else len(inputs["pixel_values"])) > 1


def test_kept_indices_are_in_the_order_of_the_pixels():
    """Qwen2.5-VL sorts its patches by window; the indices undo that."""
    model, inputs = copy("qwen2_5_vl")
    with ipcv.compress(model, ipcv.IPCV(1, 0.5, 2, 3)) as handle:
        model(**inputs)
        kept = handle.kept_indices[1]
    large = FAMILIES["qwen2_5_vl"].inputs(model, [["large"]])
    states = []
    adapter = adapter_for(model)
    hooks = [
        adapter.blocks[0].register_forward_pre_hook(lambda _, args: states.append(args[0])),
        adapter.blocks[0].register_forward_hook(lambda *args: states.append(args[-1])),
    ]
    model(**large)
    # The window of each row, by the rows' own order: windows of 4 x 4 patches of a 6 x 8 grid.
    merged = torch.arange(48).view(3, 4, 4)  # 3 x 4 units of 2 x 2 patches
    order = torch.cat([merged[i : i + 2, j : j + 2].flatten() for i in (0, 2) for j in (0, 2)])
    scores = (states[1] - states[0]).norm(dim=-1)
    best = scores.topk(24).indices
    assert kept.tolist() == order[best].sort().values.tolist()
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("name", ["qwen2_5_vl", "internvl"])
def test_stats_are_per_item_where_all_items_compete(name):
    model, inputs = copy(name)
    counts = []
    for scope in ("item", "batch"):
        with ipcv.compress(model, ipcv.IPCV(1, 0.5, 2, 3, scope)) as handle:
            model(**inputs)
        (call,), kept = handle.stats.calls, handle.kept_indices
        assert [len(indices) for indices in kept] == [item.kept for item in call.items]
        assert all(i.max() < item.patches for i, item in zip(kept, call.items, strict=True))
        counts.append(([item.patches for item in call.items], sum(map(len, kept))))
    assert len(counts[0][0]) == 2
    assert counts[0] == counts[1]


def flash(module, query, key, value, attention_mask, scaling, cu_seq_lens_q=None, **kwargs):
    """Stands for flash attention: packed segments, or a mask `(B, keys)` for as many queries."""
    if cu_seq_lens_q is None and attention_mask is not None:
        assert query.shape[2] == key.shape[2]
        attention_mask = attention_mask[:, None, None, :].bool()
    if cu_seq_lens_q is not None:
        segments = zip(
            query.split(cu_seq_lens_q.diff().tolist(), dim=2),
            key.split(kwargs["cu_seq_lens_k"].diff().tolist(), dim=2),
            value.split(kwargs["cu_seq_lens_k"].diff().tolist(), dim=2),
            strict=True,
        )
        assert max(cu_seq_lens_q.diff()) <= kwargs["max_length_q"]
        assert max(kwargs["cu_seq_lens_k"].diff()) <= kwargs["max_length_k"]
        parts = [flash(module, *segment, None, scaling)[0] for segment in segments]
        return torch.cat(parts, dim=1), None
    output = nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, scale=scaling
    )
    return output.transpose(1, 2), None


@pytest.mark.parametrize("method", [METHOD, ipcv.Adaptive(0.5)], ids=["ipcv", "adaptive"])
@pytest.mark.parametrize("name", [*SHAPES, "siglip2_vision_model"])
def test_flash_attention(name, method, monkeypatch):
    functions = ALL_ATTENTION_FUNCTIONS._global_mapping
    monkeypatch.setitem(functions, "flash_attention_2", flash)
    model, inputs = copy(name)
    expected = compressed(model, inputs, method)
    encoder = adapter_for(model).encoder
    before = encoder.config._attn_implementation
    encoder.config._attn_implementation = "flash_attention_2"
    assert before != "flash_attention_2"
    output = compressed(model, inputs, method)
    if name == "siglip2_vision_model":  # what padding holds is nobody's business
        filled = inputs["pixel_attention_mask"].bool()
        output, expected = output[filled], expected[filled]
    assert_close(output, expected)


def test_an_image_that_is_all_padding():
    model, _ = copy("smolvlm")
    encoder = adapter_for(model).encoder
    pixels = FAMILIES["clip_vision_model"].inputs(model, [["small", "large"]])["pixel_values"]
    mask = torch.ones(2, 8, 8, dtype=torch.bool)
    mask[1] = False
    with ipcv.compress(encoder, METHOD):
        output = encoder(pixels, patch_attention_mask=mask).last_hidden_state
        alone = encoder(pixels[:1], patch_attention_mask=mask[:1]).last_hidden_state
    assert_close(output[:1], alone)
