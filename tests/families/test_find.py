"""What is supported is an explicit list; everything else raises."""

import re
from copy import deepcopy
from importlib.util import find_spec

import pytest
import torch
import transformers
from torch import nn
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

import ipcv
from ipcv import families
from tests.families.whole import WHOLE
from tests.vision.adapters import towers
from tests.vision.adapters.families import CLIP, FAMILIES, SIDE, SIGLIP, TEXT, VISION, build

METHOD = ipcv.IPCV(1, 0.5, 1, 3)
IMAGE_TEXT_MODELS = set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)


def test_every_vision_language_model_is_supported_or_known_not_to_be():
    """A new one fails here: write a record of its vision encoder, or say why it is refused."""
    existing, supported = IMAGE_TEXT_MODELS, set(families.supported_model_types())
    new = sorted(existing - supported - set(families.UNSUPPORTED))
    assert not new, f"transformers has vision-language models we have not looked at: {new}"
    others = {name for name in families.UNSUPPORTED if name.startswith("timm.")}
    assert set(families.UNSUPPORTED) - others <= set(CONFIG_MAPPING_NAMES)
    assert not supported & set(families.UNSUPPORTED)


@pytest.mark.parametrize("model_type", families.UNSUPPORTED)
def test_refused_model_types_say_why(model_type):
    reason = re.escape(families.UNSUPPORTED[model_type])
    with pytest.raises(ValueError, match=f"{model_type}.*not supported: {reason}$"):
        families.family_of(model_type)


@pytest.mark.parametrize("model_type", families.supported_model_types())
def test_supported_model_types_exist_and_belong_to_one_family(model_type):
    assert model_type.startswith("timm.") or model_type in CONFIG_MAPPING_NAMES
    assert [f for f in families.FAMILIES if model_type in f.model_types] == [
        families.family_of(model_type)
    ]


def test_every_encoder_is_in_the_matrix():
    tested = {families.find_encoder(build(name))[0] for name in FAMILIES}
    tested |= {families.find_encoder(towers.build(name))[0] for name in towers.TOWERS}
    known = {encoder for family in families.FAMILIES for encoder in family.encoders}
    if not find_spec("timm"):
        known = {e for e in known if not e.class_name.startswith("timm.")}
    assert {e.class_name for e in known} == {e.class_name for e in tested}
    types = {build(name).config.model_type for name in FAMILIES}
    assert {f.name for f in families.FAMILIES} >= {families.family_of(t).name for t in types}


@pytest.mark.parametrize("name", FAMILIES)
def test_inner_models_and_encoders_are_found(name):
    model = build(name)
    encoder = families.adapter_for(model).encoder
    assert families.adapter_for(encoder).encoder is encoder
    if FAMILIES[name].class_name.endswith("Generation"):
        assert families.adapter_for(model.model).encoder is encoder


def test_every_vision_language_model_runs_whole():
    """A new one fails here: give it a line in `whole.py`."""
    tested = {build(name).config.model_type for name in FAMILIES} | set(WHOLE)
    tested.add("perception_lm")  # in `test_timm.py`
    missing = sorted(IMAGE_TEXT_MODELS & set(families.supported_model_types()) - tested)
    assert not missing, f"supported, but never run as a whole model: {missing}"


@pytest.mark.parametrize(
    "name", ["CLIP", "Siglip", "Siglip2", "Aimv2", "AltCLIP", "ChineseCLIP", "MetaClip2"]
)
def test_contrastive_models(name):
    text = TEXT | {"max_position_embeddings": 8}
    vision = VISION | {"image_size": SIDE}
    config = getattr(transformers, f"{name}Config")(text_config=text, vision_config=vision)
    model = getattr(transformers, f"{name}Model")(config)
    assert families.adapter_for(model).encoder is model.vision_model


@pytest.mark.parametrize(
    ("model_type", "vision", "usual"),
    [
        ("llava", "dinov2", "CLIPVisionModel or SiglipVisionModel or PixtralVisionModel"),
        ("mistral3", "siglip_vision_model", "PixtralVisionModel"),
        ("gemma3", "clip_vision_model", "SiglipVisionModel"),
    ],
)
def test_other_encoder_inside_a_supported_family(model_type, vision, usual):
    config = transformers.AutoConfig.for_model(
        model_type,
        vision_config=VISION | {"image_size": SIDE, "model_type": vision},
        text_config=TEXT | ({} if model_type == "gemma3" else {"model_type": "llama"}),
    )
    model = transformers.AutoModelForImageTextToText.from_config(config)
    with pytest.raises(ValueError, match=f"no stock {usual} of transformers in this") as raised:
        ipcv.compress(model, METHOD)
    assert str(raised.value).endswith("ipcv.compress(model.model.vision_tower, ...)")


def test_known_encoders_inside_unknown_models_are_offered():
    model = deepcopy(build("llava-clip"))
    model.config.model_type = "mine"
    with pytest.raises(ValueError, match="'mine' is not supported; supported are: ") as raised:
        ipcv.compress(model, METHOD)
    offer = "; its vision encoder is known by itself: ipcv.compress(model.model.vision_tower, ...)"
    assert str(raised.value).endswith(offer)
    with ipcv.compress(model.model.vision_tower, METHOD) as handle:
        model(**FAMILIES["llava-clip"].inputs(model, [["small"]]))
    assert len(handle.stats) == 1


class Remote(nn.Module):
    """A model whose code came with its checkpoint."""

    def __init__(self, model_type: str) -> None:
        super().__init__()
        self.config = transformers.PreTrainedConfig()
        self.config.model_type = model_type


@pytest.mark.parametrize(
    ("model_type", "stock"),
    [
        ("internvl_chat", "InternVLForConditionalGeneration"),
        ("llava_qwen", "LlavaOnevisionForConditionalGeneration"),
        ("qwen2_vl", "Qwen2VLForConditionalGeneration"),
    ],
)
def test_remote_code_names_the_stock_class(model_type, stock):
    with pytest.raises(ValueError, match=stock):
        ipcv.compress(Remote(model_type), METHOD)


def test_not_a_transformers_model():
    with pytest.raises(TypeError, match="got Linear"):
        ipcv.compress(nn.Linear(2, 2), METHOD)


def test_unknown_model_type_lists_the_supported():
    with pytest.raises(ValueError, match=r"'mine' is not supported; supported are: .*qwen3_vl"):
        ipcv.compress(Remote("mine"), METHOD)


def test_mae_is_a_vit(tmp_path):
    """Its own class leaves out most patches, at random, and shuffles the others."""
    sizes = VISION | {f"decoder_{key}": value for key, value in VISION.items()}
    mae = transformers.ViTMAEForPreTraining(transformers.ViTMAEConfig(image_size=SIDE, **sizes))
    with pytest.raises(ValueError, match=r"no stock ViTModel .* load the checkpoint as ViTModel"):
        ipcv.compress(mae, METHOD)
    mae.save_pretrained(tmp_path)
    vit = transformers.ViTModel.from_pretrained(tmp_path)
    with ipcv.compress(vit, METHOD) as handle:
        vit(torch.zeros(1, 3, SIDE, SIDE))
    assert [item.patches for item in handle.stats.calls[0].items] == [64]


@pytest.mark.parametrize("vision", [CLIP, SIGLIP])
@pytest.mark.parametrize("layers", [-2, -1, [-2, -4]])
@pytest.mark.parametrize("strategy", ["default", "full"])
def test_llava_feature_layers(vision, layers, strategy):
    """`full_length_outputs` is what the model then asks of its encoder."""
    config = transformers.LlavaConfig(
        vision_config=VISION | {"image_size": SIDE} | vision,
        text_config=TEXT | {"model_type": "llama"},
        vision_feature_layer=layers,
        vision_feature_select_strategy=strategy,
    )
    model = transformers.LlavaForConditionalGeneration(config).eval()
    has_cls = vision is CLIP
    pixels = FAMILIES["llava-clip"].inputs(model, [["small"]])["pixel_values"]
    with ipcv.compress(model, METHOD):
        features = model.get_image_features(pixels).pooler_output
    assert len(features[0]) == 64 + has_cls - (strategy == "default")
