"""Tiny random checkpoints of every family that answers questions, with the files real ones have."""

from pathlib import Path
from typing import Any

import transformers

from ipcv.inputs.loading import images_only
from tests.checkpoints import byte_tokenizer
from tests.vision.adapters.families import FAMILIES, SIDE, randomize

SQUARE = {"height": SIDE, "width": SIDE}
QWEN = (
    "Qwen2VLImageProcessorPil",
    {"patch_size": 4, "size": {"shortest_edge": 64, "longest_edge": 32 * 64}},
)
IDEFICS3 = {"size": {"longest_edge": 2 * SIDE}, "max_image_size": {"longest_edge": SIDE}}
LLAVA = {"size": {"shortest_edge": SIDE}, "crop_size": SQUARE}
PINPOINTS = [[32, 32], [32, 64], [64, 32]]

# Processor class, its options, image processor class, its options.
PROCESSORS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "qwen2_vl": ("Qwen2VLProcessor", {}, *QWEN),
    "qwen2_5_vl": ("Qwen2_5_VLProcessor", {}, *QWEN),
    "qwen3_vl": ("Qwen3VLProcessor", {}, *QWEN),
    "qwen3_vl_moe": ("Qwen3VLProcessor", {}, *QWEN),
    "qwen3_5": ("Qwen3VLProcessor", {}, *QWEN),
    "qwen3_5_moe": ("Qwen3VLProcessor", {}, *QWEN),
    "qwen4_exp": ("Qwen3VLProcessor", {}, *QWEN),
    "internvl": (
        "InternVLProcessor",
        {"image_seq_length": 16},
        "GotOcr2ImageProcessorPil",
        {"size": SQUARE, "crop_to_patches": True, "max_patches": 3},
    ),
    "llava-clip": (
        "LlavaProcessor",
        {
            "patch_size": 4,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
        },
        "LlavaImageProcessorPil",
        LLAVA,
    ),
    "llava_next": (
        "LlavaNextProcessor",
        {
            "patch_size": 4,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
        },
        "LlavaNextImageProcessorPil",
        LLAVA | {"image_grid_pinpoints": PINPOINTS},
    ),
    "llava_onevision": (
        "LlavaOnevisionProcessor",
        {"num_image_tokens": 64, "vision_feature_select_strategy": "full"},
        "LlavaOnevisionImageProcessorPil",
        {"size": SQUARE, "image_grid_pinpoints": PINPOINTS},
    ),
    "gemma3": (
        "Gemma3Processor",
        {"image_seq_length": 16},
        "Gemma3ImageProcessorPil",
        {"size": SQUARE},
    ),
    "paligemma": (
        "PaliGemmaProcessor",
        {},
        "SiglipImageProcessorPil",
        {"size": SQUARE, "image_seq_length": 64},
    ),
    "idefics3": ("Idefics3Processor", {"image_seq_len": 16}, "Idefics3ImageProcessorPil", IDEFICS3),
    "smolvlm": (
        "SmolVLMProcessor",
        {"image_seq_len": 16, "video_processor": None},
        "SmolVLMImageProcessorPil",
        IDEFICS3,
    ),
}
PLACEHOLDERS = {
    "Qwen2VLImageProcessorPil": "<|vision_start|><|image_pad|><|vision_end|>",
    "GotOcr2ImageProcessorPil": "<IMG_CONTEXT>",
    "Gemma3ImageProcessorPil": "<start_of_image>",
}
TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image>",
    "video_token": "<video>",
    "fake_image_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
    "end_of_utterance_token": "<end_of_utterance>",
}
TEMPLATE = (
    "{% for message in messages %}{% for part in message.content %}"
    "{% if part.type == 'image' %}PLACEHOLDER{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endfor %}"
)


def save(name: str, folder: Path) -> Path:
    """Random weights; answers are noise, the path to them is real."""
    processor_class, options, image_class, image_options = PROCESSORS[name]
    tokenizer = byte_tokenizer()
    if "qwen" not in name:
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer.backend_tokenizer,
            bos_token="<|im_start|>",
            eos_token=tokenizer.eos_token,
            pad_token=tokenizer.pad_token,
            extra_special_tokens=TOKENS,
        )
    placeholder = PLACEHOLDERS.get(image_class, "<image>")
    processor = images_only(processor_class)(
        image_processor=getattr(transformers, image_class)(**image_options),
        tokenizer=tokenizer,
        chat_template=None if name == "paligemma" else TEMPLATE.replace("PLACEHOLDER", placeholder),
        **options,
    )
    image_token = processor.image_token_id
    if name == "gemma3":  # whose processor calls the start of an image by that name
        image_token = tokenizer.image_token_id
    save_model(name, tokenizer, image_token, folder)
    processor.save_pretrained(folder)
    return folder


def save_model(name: str, tokenizer: Any, image_token: int, folder: Path) -> None:
    family = FAMILIES[name]
    config = family.config()
    config.text_config.vocab_size = len(tokenizer)
    config.image_token_id = image_token
    for token in ("video", "vision_start", "vision_end"):
        if hasattr(config, f"{token}_token_id"):
            text = {"video": "<|video_pad|>"}.get(token, f"<|{token}|>")
            setattr(config, f"{token}_token_id", tokenizer.convert_tokens_to_ids(text))
    model = getattr(transformers, family.class_name)(config)
    randomize(model)
    model.save_pretrained(folder)
