"""Processors of tiny checkpoints, with a tokenizer of one token per byte."""

from typing import Any

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ipcv.inputs.loading import images_only
from tests.vision.adapters.families import SIDE
from tiny.processor import SPECIAL

SQUARE = {"height": SIDE, "width": SIDE}
QWEN = (
    "Qwen2VLImageProcessorPil",
    {"patch_size": 4, "size": {"shortest_edge": 64, "longest_edge": 32 * 64}},
)
IDEFICS3 = {"size": {"longest_edge": 2 * SIDE}, "max_image_size": {"longest_edge": SIDE}}
LLAVA_TOKENS = {
    "patch_size": 4,
    "vision_feature_select_strategy": "default",
    "num_additional_image_tokens": 1,
}
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
        LLAVA_TOKENS,
        "LlavaImageProcessorPil",
        LLAVA,
    ),
    "llava_next": (
        "LlavaNextProcessor",
        LLAVA_TOKENS,
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
    "row_image_token": "[IMG]",
    "image_break_token": "[IMG_BREAK]",
    "image_end_token": "[IMG_END]",
}
TEMPLATE = (
    "{% for message in messages %}{% for part in message.content %}"
    "{% if part.type == 'image' %}PLACEHOLDER{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endfor %}"
)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte, and the special tokens of Qwen2-VL."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )


def image_processor(name: str) -> Any:
    """Of a family, for images alone."""
    processor_class, options, image_class, image_options = PROCESSORS[name]
    tokenizer = byte_tokenizer() if "qwen" in name else with_tokens(bos_token="<|im_start|>")
    placeholder = PLACEHOLDERS.get(image_class, "<image>")
    return images_only(processor_class)(
        image_processor=getattr(transformers, image_class)(**image_options),
        tokenizer=tokenizer,
        chat_template=None if name == "paligemma" else TEMPLATE.replace("PLACEHOLDER", placeholder),
        **options,
    )


def with_tokens(more: dict[str, str] | None = None, **special: str) -> PreTrainedTokenizerFast:
    """The tokenizer with the special tokens of all families but Qwen's, and some more."""
    tokenizer = byte_tokenizer()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        eos_token=tokenizer.eos_token,
        extra_special_tokens=TOKENS | (more or {}),
        **special,
    )
