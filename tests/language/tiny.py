"""Tiny random language models of every family that the language side supports."""

from functools import cache

import torch
import transformers

from ipcv.families import family_of, find_decoder
from tests.vision.adapters.families import FAMILIES

DEPTH = 4


def names():
    """The first of each model type whose family has a decoder that can be pruned."""
    found = {}
    for name in FAMILIES:
        model_type = FAMILIES[name].config().model_type
        if family_of(model_type).decoder and FAMILIES[name].class_name.endswith("Generation"):
            found.setdefault(model_type, name)
    return tuple(found.values())


NAMES = names()


# The same models with another language model, as some checkpoints have it.
VARIANTS = ("internvl+qwen3", "llava_next+mistral", "paligemma+gemma2")


def randomize(model):
    """Weights large enough that hidden states and image tokens differ by more than rounding."""
    parameters = [
        *find_decoder(model).model.parameters(),
        *model.lm_head.parameters(),
        # Else zero, and all image tokens of Gemma 3 equal.
        *(p for name, p in model.named_parameters() if "mm_input_projection" in name),
    ]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in parameters:
            parameter.normal_(0, 0.3, generator=generator)


@cache
def build(name, attention="sdpa"):
    """The model in eval mode, its language model four layers deep; the same object every time."""
    torch.manual_seed(0)
    family, _, variant = name.partition("+")
    config = FAMILIES[family].config()
    text = config.get_text_config().to_dict() | {"num_hidden_layers": DEPTH}
    if name == "gemma3":
        del text["rope_parameters"]
    if name == "gemma3" or variant == "gemma2":
        text["layer_types"] = ["sliding_attention", "full_attention"] * 2
        text["sliding_window"] = 12
    elif "layer_types" in text:
        text["layer_types"] = ["full_attention"] * DEPTH
    if variant:
        text["model_type"] = variant
    config.text_config = transformers.AutoConfig.for_model(**text)
    model = getattr(transformers, FAMILIES[family].class_name)._from_config(
        config, attn_implementation=attention
    )
    model.generation_config.eos_token_id = None  # never stop early
    randomize(model)
    return model.eval()


def inputs(name, prompts):
    """What `generate` takes for prompts of media: see `tests.vision.adapters.families`."""
    family = name.partition("+")[0]
    return FAMILIES[family].inputs(build(family), prompts)
