"""What the records say, against transformers, tiny models and the code that serves."""

import ast
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import transformers

import ipcv
from ipcv.families import FAMILIES, family_of, find_decoder, patches_per_token
from ipcv.integrations import vllm
from ipcv.integrations.vllm.settings import SERVED
from tests.vision.adapters import families as tiny

KEEP_ALL = ipcv.IPCV(1, 0)
WHOLE = [name for name in tiny.FAMILIES if tiny.FAMILIES[name].class_name.endswith("Generation")]
COUNTED = [
    name for name in WHOLE if family_of(tiny.build(name).config.model_type).patches_per_token
]


@pytest.mark.parametrize("decoder", {family.decoder for family in FAMILIES if family.decoder})
def test_language_models_exist(decoder):
    assert all(hasattr(transformers, name) for name in decoder.class_names)


@pytest.mark.parametrize("name", COUNTED)
def test_patches_per_token(name):
    model = tiny.build(name)
    inputs = tiny.FAMILIES[name].inputs(model, [["small", "large"]])
    with torch.no_grad(), ipcv.compress(model, KEEP_ALL) as handle:
        model(**inputs)
    patches = sum(item.patches for item in handle.stats.calls[0].items)
    tokens = int((inputs["input_ids"] == tiny.IMAGE_TOKEN).sum())
    assert patches == tokens * patches_per_token(model.config)


def test_patches_per_token_of_others():
    with pytest.raises(ValueError, match="not known for 'smolvlm'; it is for qwen2_vl, qwen2_5_vl"):
        patches_per_token(tiny.build("smolvlm").config)


@pytest.mark.parametrize(
    ("name", "layers"), [("qwen2_vl", 0), ("qwen3_vl", 2), ("qwen3_vl_moe", 2), ("internvl", 0)]
)
def test_layers_behind_which_deepstack_adds_features(name, layers):
    assert find_decoder(tiny.build(name)).deepstack_layers == layers


def test_language_side_of_unsupported_models():
    model = deepcopy(tiny.build("llava-clip"))
    model.config.model_type = "mine"
    with pytest.raises(ValueError, match=r"'mine' is not supported; supported are: .*clip"):
        ipcv.compress(model, language=ipcv.FastV(1))


def test_vllm_has_a_class_for_every_architecture():
    source = ast.parse(Path(vllm.__file__).with_name("models.py").read_text())
    classes = {node.name for node in source.body if isinstance(node, ast.ClassDef)}
    assert set(vllm.MODELS.values()) <= classes
    assert len(set(vllm.MODELS.values())) == len(vllm.MODELS)


@pytest.mark.parametrize("model_type", SERVED)
def test_served_model_types_are_those_of_their_family(model_type):
    family = SERVED[model_type]
    assert model_type in (*family.model_types, *family.remote_code)
    if model_type in family.model_types:
        assert issubclass(getattr(transformers, family.served[model_type]), torch.nn.Module)
