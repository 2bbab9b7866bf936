"""What users of timm call, beside the matrix of `test_towers.py`. Runs where timm is installed."""

import pytest
import torch
import transformers
from torch import nn

import ipcv
from ipcv.families import UNSUPPORTED, adapter_for
from tests.language.masked import dropped_columns, masked
from tests.vision.adapters.families import IMAGE_TOKEN, TEXT, images, model_class, randomize, tokens
from tests.vision.adapters.reference import PlainItem
from tests.vision.adapters.test_families import METHOD, assert_close, captured, plain_outputs
from tests.vision.adapters.towers import SIDE, TIMM, build, timm

pytimm = pytest.importorskip("timm")
PIXELS = images(["small", "large"])
TWO = [["small", "large"]]
TINY = timm("VisionTransformer").config()


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


def create(name="vit_tiny_patch16_224", **options):
    model = pytimm.create_model(name, **TINY | options)
    randomize(model)
    return model.eval()


def plain(name):
    """Of each image all its rows, and what the blocks give by loops."""
    return list(plain_outputs(TIMM[name], build(name), TWO, METHOD))


def test_create_model():
    model = create()
    before = model(PIXELS)
    with ipcv.compress(model) as handle:
        after = model(PIXELS)
        features = model.forward_features(PIXELS)
    assert len(handle.stats) == 2
    assert features.shape == (2, 65, 32)
    assert torch.equal(after, model.head(features[:, 0]))
    assert not torch.equal(before, after)
    assert torch.equal(before, model(PIXELS))


def test_global_pooling_is_over_all_patches():
    model = create(global_pool="avg")
    with ipcv.compress(model, METHOD):
        after, features = model(PIXELS), model.forward_features(PIXELS)
    assert_close(after, model.head(model.fc_norm(features[:, 1:].mean(1))))


@pytest.mark.parametrize("name", ["timm-registers", "timm-dinov3", "timm-siglip"])
@pytest.mark.parametrize("options", [{}, {"indices": 2}, {"indices": [0, -2], "stop_early": True}])
def test_intermediates_equal_plain_loops(name, options):
    model, depth = build(name), 4
    prefix = model.num_prefix_tokens
    options = options | {"intermediates_only": True}
    with ipcv.compress(model, METHOD):
        maps = model.forward_intermediates(PIXELS, **options)
        rows = model.forward_intermediates(PIXELS, **options, norm=True, output_fmt="NLC")
    indices = options.get("indices", depth)
    taken = range(depth - indices, depth) if isinstance(indices, int) else [0, 2]
    assert len(maps) == len(rows) == len(taken)
    for image, (_, outputs) in enumerate(plain(name)):
        states = [model.blocks[0].norm1.weight.new_zeros(0), *outputs]  # block 0 is not pruned
        for place, index in enumerate(taken):
            if index == 0:
                continue
            assert_close(maps[place][image].flatten(1).T, states[index + 1][prefix:])
            assert_close(rows[place][image], model.norm(states[index + 1])[prefix:])


def test_rotary_positions_of_every_block():
    """Mixed ones, which blocks learn."""
    model = model_class("timm.Eva")(
        **TINY, use_rot_pos_emb=True, rope_type="mixed", num_reg_tokens=2
    )
    randomize(model)
    model.eval()
    with captured(model) as call:
        model(PIXELS)
    start, ropes = call["arguments"]["hidden_states"], model.rope.get_embed()

    def run(block, rows, states):
        rope = ropes[block][:, rows[rows >= 3] - 3]
        return model.blocks[block](states[None], rope=rope)[0]

    with captured(model) as call, ipcv.compress(model, METHOD):
        model(PIXELS)
    for image, item in enumerate(timm("Eva", 3).items(model, [["small"]]) * 2):
        expected = PlainItem(item, METHOD, run).outputs(start[image], 4)[-1]
        assert_close(call["last"][image], expected)


def test_images_of_any_size():
    """Patches of an image that is wider than high are where the model has them."""
    model, wide = create(dynamic_img_size=True), torch.randn(1, 3, 16, 24)
    adapter = adapter_for(model)
    layout = adapter.layout(adapter.open({"x": wide}, ()), torch.zeros(1, 25, 32))
    assert layout.positions()[1:, 1:].tolist() == [[y, x] for y in range(4) for x in range(6)]
    with ipcv.compress(model):
        assert model.forward_features(wide).shape == (1, 25, 32)


def test_features_only():
    net = create(features_only=True, out_indices=(1, 3))
    with ipcv.compress(net, METHOD) as handle:
        maps = net(PIXELS)
        expected = net.model.forward_intermediates(PIXELS, indices=[1, 3], intermediates_only=True)
    assert len(handle.stats) == 2
    assert all(torch.equal(a, b) for a, b in zip(maps, expected, strict=True))


class Mine(model_class("timm.VisionTransformer")):
    """As people write them."""


def test_subclasses():
    with ipcv.compress(Mine(**TINY).eval(), METHOD) as handle:
        handle._engines[0].target(PIXELS)
    assert len(handle.stats) == 1


def test_preset():
    vision = ipcv.preset(create(depth=12), published=True).vision
    assert (vision.prune_layer, vision.reduction_ratio) == (4, 0.65)


def test_inside_transformers():
    config = transformers.TimmWrapperConfig(
        architecture="vit_tiny_patch16_224", model_args=TINY | {"depth": 3}
    )
    del config.model_args["num_classes"]
    model = transformers.AutoModel.from_config(config).eval()
    with ipcv.compress(model, METHOD) as handle:
        output = model(PIXELS, output_hidden_states=True)
        assert_close(output.pooler_output, output.last_hidden_state[:, 0])
    assert len(handle.stats) == 1
    assert [h.shape for h in output.hidden_states] == [(2, 32, 8, 8)] * 3


def test_perception_lm():
    arguments = {"img_size": SIDE, "patch_size": 4, "embed_dim": 32, "depth": 3, "num_heads": 4}
    vision = {
        "model_type": "timm_wrapper",
        "architecture": "vit_pe_core_tiny_patch16_384",
        "model_args": arguments | {"global_pool": "", "ref_feat_shape": 8},
    }
    config = transformers.PerceptionLMConfig(
        vision_config=vision,
        text_config=TEXT | {"model_type": "llama"},
        image_token_id=IMAGE_TOKEN,
        projector_pooling_ratio=2,
    )
    model = transformers.PerceptionLMForConditionalGeneration(config).eval()
    inputs = tokens([[(IMAGE_TOKEN, 16)] * 2]) | {"pixel_values": PIXELS[None]}
    before = model(**inputs).logits
    with ipcv.compress(model, METHOD) as handle:
        assert not torch.equal(model(**inputs).logits, before)
    assert [item.patches for item in handle.stats.calls[0].items] == [64, 64]
    assert torch.equal(model(**inputs).logits, before)
    with ipcv.compress(model, language=ipcv.FastV(1, 0.5)) as handle:
        logits = model(**inputs).logits
    (prefill,) = handle.stats.prefills
    with masked(model, dropped_columns(prefill)):
        assert_close(logits[:, -1], model(**inputs).logits[:, -1])


@pytest.mark.parametrize("name", ["timm-vit", "timm-eva02"])
def test_layers_that_must_be_called(name):
    """Where something hangs on a projection, its weight is not sliced."""
    model, calls = build(name), []
    with ipcv.compress(model, METHOD):
        expected = model(PIXELS)
    hooks = [b.attn.qkv.register_forward_hook(lambda *_: calls.append(1)) for b in model.blocks]
    with ipcv.compress(model, METHOD):
        assert_close(model(PIXELS), expected)
    for hook in hooks:
        hook.remove()
    assert calls


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block_fn": "ParallelScalingBlock"}, "blocks of this VisionTransformer are ParallelScal"),
        (
            {"block_fn": "ResPostBlock"},
            "blocks of this VisionTransformer are ResPostBlock, not Blo",
        ),
        ({"attn_layer": "diff"}, "attention of this VisionTransformer are DiffAttention"),
    ],
)
def test_other_blocks_are_refused(options, message):
    from timm.models import vision_transformer

    if name := options.get("block_fn"):
        options = {"block_fn": getattr(vision_transformer, name)}
    with pytest.raises(ValueError, match=message):
        ipcv.compress(create_plainly(**options))


def create_plainly(**options):
    return model_class("timm.VisionTransformer")(**TINY | options)


def test_gates_are_refused():
    model = model_class("timm.Eva")(**TINY)
    model.blocks[1].attn.gate = nn.Linear(32, 32)
    with pytest.raises(ValueError, match="has gates"):
        ipcv.compress(model)


@pytest.mark.parametrize("name", ["VisionTransformerRelPos", "Beit"])
def test_other_models_say_why(name):
    arguments = {k: v for k, v in TINY.items() if k != "num_classes"}
    model = model_class(f"timm.{name}")(**arguments)
    with pytest.raises(ValueError, match=UNSUPPORTED[f"timm.{name}"]):
        ipcv.compress(model)
    with pytest.raises(ValueError, match=r"model type 'timm\.ResNet' is not supported"):
        ipcv.compress(pytimm.create_model("resnet10t"))


def test_calls_that_cannot_be_right():
    model = create_plainly(patch_drop_rate=0.5)
    with ipcv.compress(model, METHOD):
        with pytest.raises(RuntimeError, match="patch_drop_rate=0"):
            model(PIXELS)
        model.set_grad_checkpointing()
        with pytest.raises(RuntimeError, match="set_grad_checkpointing"):
            model(PIXELS)
        model.eval()
        with pytest.raises(ValueError, match="no attn_mask"):
            model(PIXELS, attn_mask=torch.ones(65, 65, dtype=torch.bool))
        with pytest.raises(ValueError, match="is_causal"):
            model.forward_features(PIXELS, is_causal=True)
