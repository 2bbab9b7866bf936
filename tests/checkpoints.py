"""Tiny random checkpoints on disk, with all the files that real ones have.

Answers are noise, the path to them is real.
"""

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from ipcv.inputs.loading import images_only
from tests.processors import byte_tokenizer, image_processor
from tests.vision.adapters.families import FAMILIES, randomize
from tiny.processor import CHAT_TEMPLATE


def save_qwen2_vl(folder: Path, depth: int = 4) -> Path:
    """Qwen2-VL with patches of 14 pixels."""
    tokenizer = byte_tokenizer()
    ids = {
        name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("image_pad", "video_pad")
    }
    torch.manual_seed(0)
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [1, 1, 2],
            },
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": None,
        },
        vision_config={"depth": depth, "embed_dim": 32, "hidden_size": 32, "num_heads": 4},
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    )
    Qwen2VLForConditionalGeneration(config).eval().save_pretrained(folder)
    processor = images_only("Qwen2VLProcessor")(
        image_processor=Qwen2VLImageProcessorPil(), tokenizer=tokenizer, chat_template=CHAT_TEMPLATE
    )
    processor.save_pretrained(folder)
    return folder


def save(name: str, folder: Path) -> Path:
    """A family that answers questions, with a processor for images alone."""
    processor = image_processor(name)
    image_token = processor.image_token_id
    if name == "gemma3":  # whose processor calls the start of an image by that name
        image_token = processor.tokenizer.image_token_id
    save_model(name, processor.tokenizer, image_token, folder)
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
