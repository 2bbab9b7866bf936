"""`compress` and its handle."""

import pytest
import torch
from torch import nn

import ipcv
from ipcv.baselines import CDPruner, VisionZip
from tests.language.tiny import NAMES, build, inputs
from tests.vision.adapters.families import FAMILIES
from tests.vision.adapters.families import build as build_encoder

VISION, LANGUAGE = ipcv.IPCV(prune_layer=1), ipcv.FastV(prune_layer=2)


@pytest.mark.parametrize(
    ("vision", "language"), [(VISION, None), (None, LANGUAGE), (VISION, LANGUAGE)]
)
def test_each_side_alone_and_both(vision, language):
    model, prompt = build("qwen2_vl"), inputs("qwen2_vl", [["large"]])
    with torch.no_grad(), ipcv.compress(model, vision=vision, language=language) as handle:
        assert not handle.stats
        with pytest.raises(RuntimeError):
            handle.kept_indices  # noqa: B018
        model(**prompt)
        assert handle.stats
        assert len(handle.stats.calls) == (vision is not None)
        assert len(handle.stats.prefills) == (language is not None)
        if vision is None:
            with pytest.raises(RuntimeError, match="vision encoder is not compressed"):
                handle.kept_indices  # noqa: B018
        else:
            assert [len(kept) for kept in handle.kept_indices] == [16]


@pytest.mark.parametrize(
    "arguments", [{}, {"vision": LANGUAGE}, {"language": VISION}, {"language": "dart"}]
)
def test_wrong_types(arguments):
    with pytest.raises(TypeError, match=r"vision|language"):
        ipcv.compress(build("qwen2_vl"), **arguments)


def test_sides_are_compressed_once_each():
    model = build("qwen2_vl")
    with ipcv.compress(model, VISION):
        with ipcv.compress(model, language=LANGUAGE), pytest.raises(RuntimeError):
            ipcv.compress(model, VISION)
        with pytest.raises(RuntimeError, match="compressed already"):
            ipcv.compress(model, VISION, LANGUAGE)
        with ipcv.compress(model, language=LANGUAGE):
            pass


def test_layers_beyond_the_depth():
    with pytest.raises(ValueError, match="has 4 layers"):
        ipcv.compress(build("qwen2_vl"), language=ipcv.FastV(prune_layer=4))
    with pytest.raises(ValueError, match="has 4 layers"):
        ipcv.compress(build("qwen2_vl"), language=ipcv.V2Drop())


@pytest.mark.parametrize("name", ["qwen3_vl", "qwen3_vl_moe"])
def test_deepstack(name):
    for method in (CDPruner(), VisionZip(), ipcv.RandomDrop(0)):
        with pytest.raises(ValueError, match="DeepStack"):
            ipcv.compress(build(name), language=method)
    with pytest.raises(ValueError, match="DeepStack"):
        ipcv.compress(build(name), language=ipcv.FastV(prune_layer=1))
    ipcv.compress(build(name), language=ipcv.FastV(prune_layer=2)).remove()


@pytest.mark.parametrize("name", ["clip_vision_model", "qwen3_5"])
def test_language_models_that_are_not_supported(name):
    with pytest.raises(ValueError, match="supported language models"):
        ipcv.compress(build_encoder(name), language=LANGUAGE)


def test_modules_that_hold_nothing():
    with pytest.raises(ValueError, match="holds none"):
        ipcv.compress(nn.Linear(1, 1), language=LANGUAGE)


def test_stale_handle_does_not_disarm_the_guard():
    model = build("qwen2_vl")
    stale = ipcv.compress(model, VISION, LANGUAGE)
    stale.remove()
    with ipcv.compress(model, VISION, LANGUAGE):
        stale.remove()
        with pytest.raises(RuntimeError, match="compressed already"):
            ipcv.compress(model, VISION)
        with pytest.raises(RuntimeError, match="compressed already"):
            ipcv.compress(model, language=LANGUAGE)


@pytest.mark.parametrize("order", [1, -1])
def test_two_handles_are_removed_in_any_order(order):
    model = build("internvl")
    before = {path: set(vars(module)) for path, module in model.named_modules()}
    handles = [ipcv.compress(model, VISION), ipcv.compress(model, language=LANGUAGE)]
    for handle in handles[::order]:
        handle.remove()
    assert {path: set(vars(module)) for path, module in model.named_modules()} == before


@pytest.mark.parametrize("method", ["generate", "forward"])
def test_wrappers_of_others_survive_removal(method):
    model, prompt = build("internvl"), inputs("internvl", [["large"]])
    with torch.no_grad():
        expected = model(**prompt).logits
        handle = ipcv.compress(model, VISION, LANGUAGE)
        inner = getattr(model, method)

        def wrapper(*args, **kwargs):
            return inner(*args, **kwargs)

        setattr(model, method, wrapper)
        handle.remove()
        assert vars(model).pop(method) is wrapper
        if method == "forward":
            assert torch.equal(inner(**prompt).logits, expected)


def test_inner_model():
    model, prompt = build("internvl"), inputs("internvl", [["large"]])
    with torch.no_grad():
        with ipcv.compress(model.model, VISION):
            inner = model.model(**prompt).last_hidden_state
        with ipcv.compress(model, VISION):
            assert torch.equal(model.model(**prompt).last_hidden_state, inner)
    with pytest.raises(ValueError, match="pass the full model"):
        ipcv.compress(model.model, VISION, LANGUAGE)
    assert ipcv.preset(model.model).language is None


@pytest.mark.parametrize("name", NAMES)
def test_preset_fits(name):
    model, prompt = build(name), inputs(name, [["large"]])
    vision, language = ipcv.preset(model)
    with torch.no_grad(), ipcv.compress(model, vision, language) as handle:
        model(**prompt)
    assert handle.stats.prefills[0].kv_bytes_saved > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_presets_without_a_language_side(name):
    if name not in NAMES and name != "llava-siglip":
        assert ipcv.preset(build_encoder(name)).language is None


def test_published_presets():
    assert ipcv.preset("qwen2_vl").language == ipcv.DART(3, 0.65, normalize=False)
    assert ipcv.preset("internvl").language == ipcv.FastV(3, 0.65)
    assert ipcv.preset("qwen2_vl_vision").language is None
