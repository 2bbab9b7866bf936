"""Model types whose vision encoder is not supported, and why."""

from __future__ import annotations

_SAM = "its encoder is SAM's, whose blocks attend in windows of a grid that must stay whole"
_SHRINKS = "its encoder merges patches between its blocks, which then are too few to prune"
_NO_ENCODER = "it has no vision encoder: patches of pixels go to the language model as they are"
_CONVOLUTIONS = "its vision encoder is convolutional, without patches that could be left out"
_QUANTIZER = "its images are tokenized by convolutions, without patches that could be left out"
_PAIRS = "its attention adds a number for every pair of patches, of each block its own"
_OWN_ATTENTION = "its vision encoder computes attention by itself, not by those of transformers"

UNSUPPORTED = {
    "beit": _PAIRS,
    "blip": _OWN_ATTENTION,
    "chameleon": _QUANTIZER,
    "data2vec-vision": _PAIRS,
    "deepseek_ocr2": f"{_SAM}, and is read by a causal model",
    "emu3": _QUANTIZER,
    "evolla": "it reads proteins, not images",
    "fast_vlm": _CONVOLUTIONS,
    "florence2": "its encoder (DaViT) attends between channels and within windows, at four scales",
    "fuyu": _NO_ENCODER,
    "gemma3n": _CONVOLUTIONS,
    "gemma4_unified": _NO_ENCODER,
    "got_ocr2": _SAM,
    "idefics": "its vision encoder is not a model of its own; Idefics2 and 3 are known",
    "inkling2": "its encoder puts a class token before each of several images in one sequence",
    "inkling_mm_model": "its vision encoder folds patches by linear layers, without attention",
    "kosmos-2.5": "its encoder tells where patches are by numbers in front of their pixels",
    "lfm3_vl": "between its blocks are convolutions, which need all patches in place",
    "minicpm_ocr": _SHRINKS,
    "minicpmv4_6": _SHRINKS,
    "minicpmv4_7": _SHRINKS,
    "mistral4": "it has no vision encoder of its own; Mistral 3 and Mistral Large 4 are known",
    "mllama": "its encoder mixes the tiles of an image and their padding in one sequence",
    "nemotron_h_omni": "its encoder (RADIO) puts summary tokens before each of several images",
    "pix2struct": _OWN_ATTENTION,
    "pp_chart2table": _SAM,
    "pp_formulanet": _SAM,
    "timm.Beit": _PAIRS,
    "timm.VisionTransformerRelPos": _PAIRS,
    "udop": _NO_ENCODER,
    "unlimited_ocr": f"{_SAM}, in front of one like CLIP's",
    "video_llava": "it has two vision encoders, one for images and one for videos",
    "vision-encoder-decoder": "its vision encoder may be any",
}
"""By model type, the reason, as it follows "not supported:"."""
