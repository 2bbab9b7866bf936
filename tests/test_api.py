"""`compress` and its handle."""

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import peft
import pytest
import torch
from torch import nn

import ipcv
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
    "arguments", [{"vision": LANGUAGE}, {"language": VISION}, {"language": "dart"}]
)
def test_wrong_types(arguments):
    with pytest.raises(TypeError, match=r"vision|language"):
        ipcv.compress(build("qwen2_vl"), **arguments)


def test_by_default_it_is_adaptive():
    model, prompt = build("qwen2_vl"), inputs("qwen2_vl", [["large"]])
    with torch.no_grad(), ipcv.compress(model):
        found = model(**prompt).logits
    with torch.no_grad(), ipcv.compress(model, ipcv.Adaptive()):
        assert torch.equal(model(**prompt).logits, found)


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


def trained_copy():
    return peft.LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["vision_tower"])


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
def test_the_copy_that_peft_trains_is_the_one_that_is_compressed():
    model = deepcopy(build("llava-clip"))
    prompt = FAMILIES["llava-clip"].inputs(model, [["small"]])
    wrapped = peft.get_peft_model(model, trained_copy()).eval()
    with torch.no_grad(), ipcv.compress(wrapped, ipcv.IPCV(1, 0.5, 1)) as handle:
        wrapped(**prompt)
    assert len(handle.stats) == 1


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
def test_pixels_that_pass_by_the_compressed_encoder_are_told_of_once():
    model = deepcopy(build("llava-clip"))
    prompt = FAMILIES["llava-clip"].inputs(model, [["small"]])
    with torch.no_grad(), ipcv.compress(model, ipcv.IPCV(1, 0.5, 1)) as handle:
        wrapped = peft.get_peft_model(model, trained_copy()).eval()
        with pytest.warns(UserWarning, match="not through the encoder that is compressed"):
            wrapped(**prompt)
        wrapped(**prompt)
    assert len(handle.stats) == 0


def test_a_handle_that_was_not_kept():
    model = build("qwen2_vl")
    prompt = FAMILIES["qwen2_vl"].inputs(model, [["small"]])
    with torch.no_grad():
        before = model(**prompt)[0]
        ipcv.compress(model, ipcv.Adaptive(0.5))
        assert not torch.equal(model(**prompt)[0], before)
        ipcv.remove(model)
        assert torch.equal(model(**prompt)[0], before)
        ipcv.remove(model)


def test_compress_is_all_or_nothing(monkeypatch):
    model = build("qwen2_vl")

    def fail(engine):
        raise OSError("as for want of memory")

    monkeypatch.setattr("ipcv.language.engine.DecoderEngine.attach", fail)
    with pytest.raises(OSError, match="want of memory"):
        ipcv.compress(model, ipcv.IPCV(1, 0.5, 1), ipcv.DART(1))
    assert not any("forward" in vars(module) for module in model.modules())
    ipcv.compress(model, ipcv.IPCV(1, 0.5, 1)).remove()


def test_threads_that_compress_one_model_at_once():
    model = build("qwen2_vl")

    def attempt(_):
        try:
            return ipcv.compress(model, ipcv.IPCV(1, 0.5, 1))
        except RuntimeError:
            return None

    with ThreadPoolExecutor(8) as pool:
        handles = [handle for handle in pool.map(attempt, range(8)) if handle]
    assert len(handles) == 1
    handles[0].remove()
