"""The tokenizer and the processor of the shipped model, in the files of Qwen2-VL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from tokenizers import Tokenizer, trainers
from transformers import PreTrainedTokenizerBase, Qwen2Tokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from ipcv.bench.scenes import COLOURS, SHAPES, WORDS
from ipcv.bench.scenes.lexicon import PLURALS

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

CHAT_TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n' }}
    {%- if message['content'] is string %}
        {{- message['content'] }}
    {%- else %}
        {%- for part in message['content'] %}
            {%- if part['type'] == 'image' or 'image' in part or 'image_url' in part %}
                {{- '<|vision_start|><|image_pad|><|vision_end|>' }}
            {%- elif part['type'] == 'video' or 'video' in part %}
                {{- '<|vision_start|><|video_pad|><|vision_end|>' }}
            {%- elif 'text' in part %}
                {{- part['text'] }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

MIN_PIXELS = 56 * 56
MAX_PIXELS = 672 * 672


def sentences() -> Iterator[str]:
    """All that the scenes can ask and answer, in pieces that contain each word in each form."""
    yield from ("user\n", "assistant\n", "system\n", "yes", "no", ".", ", ")
    yield from ("What number is written?", "What word is written?")
    for colour, shape in product(COLOURS, SHAPES):
        yield f"Is the {colour} {shape} left of the {colour} {shape}?"
        yield f"Is the {colour} {shape} above the {colour} {shape}?"
        yield f"Is there a {colour} {shape}?"
        yield f"What colour is the {shape}?"
        yield f"What shape is {colour}?"
        yield f"How many {colour} shapes are there?"
        yield f"How many {PLURALS[shape]} are there?"
    for answer in (*COLOURS, *SHAPES, *WORDS):
        yield answer
        yield f"A {answer}."


def build_tokenizer() -> PreTrainedTokenizerBase:
    """A byte-level BPE in the form of Qwen2's, in which every word of the scenes is one token."""
    learned: Tokenizer = Qwen2Tokenizer()._tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=10_000,
        min_frequency=1,
        initial_alphabet=sorted(_byte_alphabet()),
        show_progress=False,
    )
    learned.train_from_iterator(sentences(), trainer)
    model = json.loads(learned.to_str())["model"]
    vocab = {token: i for i, token in enumerate(sorted(model["vocab"], key=model["vocab"].get))}
    tokenizer = Qwen2Tokenizer(
        vocab=vocab,
        merges=[tuple(pair) for pair in model["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        extra_special_tokens=[
            token for token in SPECIAL if token not in SPECIAL[:1] + SPECIAL[2:3]
        ],
        padding_side="left",
        model_max_length=8192,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _byte_alphabet() -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    return ByteLevel.alphabet()


def save_processor(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write tokenizer, image processor and processor files that ``AutoProcessor`` loads."""
    tokenizer.save_pretrained(folder)
    images = Qwen2VLImageProcessorPil(min_pixels=MIN_PIXELS, max_pixels=MAX_PIXELS)
    images.save_pretrained(folder)
