"""The shipped model: a small Qwen2-VL."""

from __future__ import annotations

from transformers import Qwen2VLConfig

VISION = {
    "depth": 8,
    "embed_dim": 128,
    "num_heads": 4,
    "mlp_ratio": 4,
    "hidden_size": 160,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}

TEXT = {
    "hidden_size": 160,
    "intermediate_size": 480,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6,
    # A small base: images are at most 24 x 24 cells, so low frequencies must turn within 24 steps.
    "rope_parameters": {"rope_type": "default", "rope_theta": 40.0, "mrope_section": [2, 9, 9]},
}


def build_config(vocab_size: int, token_ids: dict[str, int]) -> Qwen2VLConfig:
    """The configuration for a vocabulary; ``token_ids`` maps the special tokens to their ids."""
    text = TEXT | {
        "vocab_size": vocab_size,
        "bos_token_id": token_ids["<|endoftext|>"],
        "eos_token_id": token_ids["<|im_end|>"],
        "pad_token_id": token_ids["<|endoftext|>"],
    }
    return Qwen2VLConfig(
        vision_config=dict(VISION),
        text_config=text,
        image_token_id=token_ids["<|image_pad|>"],
        video_token_id=token_ids["<|video_pad|>"],
        vision_start_token_id=token_ids["<|vision_start|>"],
        vision_end_token_id=token_ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
