"""Tiny random checkpoints as vLLM takes them, with heads of 32 in the language model."""

from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

from tests.families.whole import WHOLE
from tests.processors import PROCESSORS, QWEN, SQUARE, byte_tokenizer, with_tokens
from tests.vision.adapters.families import FAMILIES, SIDE, randomize
from tiny.processor import CHAT_TEMPLATE

TEXT = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}
TILES = {"size": SQUARE, "crop_to_patches": True, "min_patches": 1, "max_patches": 3}
QWEN_PROCESSORS = {
    "qwen2_vl": ("Qwen2VL", "Qwen2VL"),
    "qwen2_5_vl": ("Qwen2_5_VL", "Qwen2VL"),
    "qwen3_vl": ("Qwen3VL", "Qwen3VL"),
    "qwen3_vl_moe": ("Qwen3VL", "Qwen3VL"),
}

GLM_PROCESSORS = {"glm4v": "Glm4v", "glm4v_moe": "Glm4v", "glm_ocr": "Glm46V"}
INSIDE = ("gemma3", "llava-clip", "llava_onevision")
"""Where the encoder's weights have another name around them."""
GEMMA4_SIZES = {"patch_size": 4, "max_soft_tokens": 70, "pooling_kernel_size": 2}
GLM_SIZES = {"patch_size": 4, "size": {"shortest_edge": 64, "longest_edge": 8192}}


def save_for_vllm(name: str, folder: Path) -> tuple[Any, Any]:
    """A checkpoint with a processor of images and, where there are, videos; both are returned."""
    config, processor = _config(name), _processor(name)
    text = config.text_config
    for key, value in TEXT.items():
        setattr(text, key, value)
    if name in QWEN_PROCESSORS:
        _fit_qwen(name, config, processor.tokenizer)
    elif name in GLM_PROCESSORS:
        _fit_glm(name, config, processor.tokenizer)
    else:
        config.image_token_id = processor.image_token_id
        if name == "gemma3":  # whose processor calls the start of an image by that name
            config.image_token_id = processor.tokenizer.image_token_id
        if name in ("llava_onevision", "gemma4"):
            config.video_token_id = processor.video_token_id
        if name == "gemma4":
            config.boi_token_id, config.eoi_token_id = processor.tokenizer.convert_tokens_to_ids(
                [processor.boi_token, processor.eoi_token]
            )
            text.vocab_size_per_layer_input = len(processor.tokenizer)
        text.max_position_embeddings = 4096
    text.vocab_size = len(processor.tokenizer)
    text.eos_token_id = processor.tokenizer.eos_token_id
    torch.manual_seed(0)
    model = transformers.AutoModelForImageTextToText.from_config(config).eval()
    randomize(model)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    _rename(folder / "model.safetensors", is_inside=name in INSIDE)
    return model, processor


def _config(name: str) -> Any:
    if name in FAMILIES:
        config = FAMILIES[name].config()
        if name == "llava-clip":  # vLLM leaves blocks out that nobody asks for
            config.vision_feature_layer = -1
        return config
    options = deepcopy(WHOLE[name].options())
    if name == "gemma4":
        options["text_config"] |= TEXT | {"global_head_dim": TEXT["head_dim"]}
        options["vision_config"] |= {"position_embedding_size": 64, "default_output_length": 70}
    return transformers.AutoConfig.for_model(name, **options)


def _fit_qwen(name: str, config: Any, tokenizer: Any) -> None:
    text, vision = config.text_config, config.vision_config
    text.rope_parameters = dict(MROPE)
    width = "hidden_size" if name == "qwen2_vl" else "out_hidden_size"
    setattr(vision, width, TEXT["hidden_size"])
    if name.startswith("qwen3"):
        text.rope_parameters["mrope_interleaved"] = True
    for token in ("image", "video", "vision_start", "vision_end"):
        mark = f"<|{token}_pad|>" if token in ("image", "video") else f"<|{token}|>"
        setattr(config, f"{token}_token_id", tokenizer.convert_tokens_to_ids(mark))
    if name == "qwen3_vl_moe":
        text.norm_topk_prob, text.shared_expert_intermediate_size = True, 0


def _fit_glm(name: str, config: Any, tokenizer: Any) -> None:
    text, vision = config.text_config, config.vision_config
    vision.out_hidden_size = TEXT["hidden_size"]
    rope = MROPE | {"partial_rotary_factor": 1.0}
    if name == "glm_ocr":  # vLLM takes the width of the merger from there
        text.intermediate_size = vision.in_channels * vision.out_hidden_size
    else:
        rope |= {"partial_rotary_factor": 0.5, "mrope_section": [2, 3, 3]}
    if name == "glm4v":  # as checkpoints have it
        text.attention_bias = True
    if name == "glm4v_moe":
        text.use_qk_norm = False
    text.rope_parameters = rope
    for medium in ("image", "video"):
        marks = {"": medium, "start_": f"begin_of_{medium}", "end_": f"end_of_{medium}"}
        for place, mark in marks.items():
            token = tokenizer.convert_tokens_to_ids(f"<|{mark}|>")
            setattr(config, f"{medium}_{place}token_id", token)


def _rename(file: Path, is_inside: bool) -> None:
    """As the checkpoints on the hub have it."""
    weights = {}
    for key, weight in load_file(file).items():
        if ".experts." in key and weight.dim() == 3:  # all of a layer
            weight = weight.transpose(1, 2).contiguous()
        if is_inside:
            key = key.replace("vision_tower.", "vision_tower.vision_model.")
        weights[key] = weight
    save_file(weights, file, metadata={"format": "pt"})


def _processor(name: str) -> Any:
    """Needs torchvision."""
    if name in QWEN_PROCESSORS:
        return _qwen_processor(*QWEN_PROCESSORS[name])
    if name in GLM_PROCESSORS:
        return _glm_processor(GLM_PROCESSORS[name])
    if (make := OTHER_PROCESSORS.get(name)) is not None:
        return make()
    tokenizer = with_tokens(pad_token="<|endoftext|>")
    if name == "gemma3":  # vLLM looks for these
        tokenizer.add_tokens(["\n" * count for count in range(1, 5)])
    kind, options, image_kind, image_options = PROCESSORS[name]
    if name == "llava_onevision":
        options = options | {
            "video_processor": transformers.LlavaOnevisionVideoProcessor(size=SQUARE)
        }
    if name == "smolvlm":
        options = options | {"video_processor": transformers.SmolVLMVideoProcessor()}
    image_processor = getattr(transformers, image_kind.removesuffix("Pil"))(**image_options)
    return getattr(transformers, kind)(
        image_processor=image_processor, tokenizer=tokenizer, **options
    )


def _qwen_processor(family: str, video_family: str) -> Any:
    video = getattr(transformers, f"{video_family}VideoProcessor")(**QWEN[1])
    normalization = {"image_mean": video.image_mean, "image_std": video.image_std}
    return getattr(transformers, f"{family}Processor")(
        image_processor=transformers.Qwen2VLImageProcessor(**QWEN[1], **normalization),
        video_processor=video,
        tokenizer=byte_tokenizer(),
        chat_template=CHAT_TEMPLATE,
    )


def _internvl_processor() -> Any:
    return transformers.InternVLProcessor(
        image_processor=transformers.GotOcr2ImageProcessor(**TILES),
        video_processor=transformers.InternVLVideoProcessor(size=SQUARE),
        tokenizer=with_tokens(pad_token="<|endoftext|>"),
        image_seq_length=16,
        chat_template=CHAT_TEMPLATE,
    )


def _pixtral_processor(merge: int) -> Any:
    return transformers.PixtralProcessor(
        image_processor=transformers.PixtralImageProcessor(
            patch_size={"height": 4 * merge, "width": 4 * merge}, size={"longest_edge": 2 * SIDE}
        ),
        tokenizer=with_tokens(pad_token="<|endoftext|>"),
        patch_size=4,
        spatial_merge_size=merge,
    )


def _glm_processor(kind: str) -> Any:
    tokenizer = byte_tokenizer()
    for medium in ("image", "video"):
        marks = (medium, f"begin_of_{medium}", f"end_of_{medium}")
        tokenizer.add_tokens([f"<|{mark}|>" for mark in marks], special_tokens=True)
    return getattr(transformers, f"{kind}Processor")(
        image_processor=getattr(transformers, f"{kind}ImageProcessor")(**GLM_SIZES),
        video_processor=getattr(transformers, f"{kind}VideoProcessor")(**GLM_SIZES),
        tokenizer=tokenizer,
    )


def _gemma4_processor() -> Any:
    audio = {"audio_token": "<audio>", "boa_token": "<boa>", "eoa_token": "<eoa>"}
    return transformers.Gemma4Processor(
        feature_extractor=transformers.Gemma4AudioFeatureExtractor(),
        image_processor=transformers.Gemma4ImageProcessor(**GEMMA4_SIZES),
        video_processor=transformers.Gemma4VideoProcessor(**GEMMA4_SIZES),
        tokenizer=with_tokens(audio, pad_token="<|endoftext|>"),
        image_seq_length=GEMMA4_SIZES["max_soft_tokens"],
    )


OTHER_PROCESSORS = {
    "internvl": _internvl_processor,
    "llava": partial(_pixtral_processor, merge=1),
    "mistral3": partial(_pixtral_processor, merge=2),
    "gemma4": _gemma4_processor,
}
