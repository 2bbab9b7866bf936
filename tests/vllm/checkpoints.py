"""Tiny random checkpoints as vLLM takes them: processors for images and video, heads of 32."""

from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

from tests.checkpoints import byte_tokenizer
from tests.vision.adapters.checkpoints import TOKENS
from tests.vision.adapters.families import FAMILIES, SIDE, randomize
from tiny.processor import CHAT_TEMPLATE

TEXT = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}
PIXELS = {"patch_size": 4, "size": {"shortest_edge": 64, "longest_edge": 32 * 64}}
TILES = {
    "size": {"height": SIDE, "width": SIDE},
    "crop_to_patches": True,
    "min_patches": 1,
    "max_patches": 3,
}


def save(name: str, folder: Path) -> tuple[Any, Any]:
    """Write a checkpoint; its model and processor in `transformers`.

    Random weights; answers are noise, the path to them is real.
    """
    config = FAMILIES[name].config()
    text, vision = config.text_config, config.vision_config
    for key, value in TEXT.items():
        setattr(text, key, value)
    if name == "internvl":
        processor = _internvl()
        config.image_token_id = processor.image_token_id
        text.max_position_embeddings = 4096
    else:
        processor = _qwen(name)
        text.rope_parameters = dict(MROPE)
        if name.startswith("qwen3"):
            vision.out_hidden_size = TEXT["hidden_size"]
            text.rope_parameters["mrope_interleaved"] = True
        elif name == "qwen2_5_vl":
            vision.out_hidden_size = TEXT["hidden_size"]
        else:
            vision.hidden_size = TEXT["hidden_size"]
        for token in ("image", "video", "vision_start", "vision_end"):
            mark = f"<|{token}_pad|>" if token in ("image", "video") else f"<|{token}|>"
            setattr(config, f"{token}_token_id", processor.tokenizer.convert_tokens_to_ids(mark))
    if name == "qwen3_vl_moe":
        text.norm_topk_prob, text.shared_expert_intermediate_size = True, 0
    text.vocab_size = len(processor.tokenizer)
    text.eos_token_id = processor.tokenizer.eos_token_id
    torch.manual_seed(0)
    model = getattr(transformers, FAMILIES[name].class_name)(config).eval()
    randomize(model)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    if name == "qwen3_vl_moe":
        _transpose_experts(folder / "model.safetensors")
    return model, processor


def _transpose_experts(file: Path) -> None:
    """As the checkpoints on the hub have them."""
    weights = load_file(file)
    for key, weight in weights.items():
        if ".experts." in key:
            weights[key] = weight.transpose(1, 2).contiguous()
    save_file(weights, file, metadata={"format": "pt"})


def _qwen(name: str) -> Any:
    family = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL"}.get(name, "Qwen3VL")
    video = "Qwen3VL" if family == "Qwen3VL" else "Qwen2VL"
    return getattr(transformers, f"{family}Processor")(
        image_processor=transformers.Qwen2VLImageProcessor(**PIXELS),
        video_processor=getattr(transformers, f"{video}VideoProcessor")(**PIXELS),
        tokenizer=byte_tokenizer(),
        chat_template=CHAT_TEMPLATE,
    )


def _internvl() -> Any:
    tokenizer = byte_tokenizer()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        eos_token=tokenizer.eos_token,
        pad_token=tokenizer.pad_token,
        extra_special_tokens=TOKENS,
    )
    return transformers.InternVLProcessor(
        image_processor=transformers.GotOcr2ImageProcessor(**TILES),
        video_processor=transformers.InternVLVideoProcessor(size=TILES["size"]),
        tokenizer=tokenizer,
        image_seq_length=16,
        chat_template=CHAT_TEMPLATE,
    )
