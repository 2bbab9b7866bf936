from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from tokenizers import AddedToken

from ipcv.inputs import prompt
from ipcv.inputs.loading import load
from ipcv.inputs.prompt import (
    BREAK,
    Media,
    as_text,
    build_inputs,
    content_of,
    read_prompt,
    video_options,
)

METADATA = {"total_num_frames": 20, "fps": 5.0, "frames_indices": [5, 15]}
FRAME = Image.new("RGB", (8, 8))
VIDEO = Media((FRAME, FRAME), METADATA)
PROCESSOR = SimpleNamespace(video_processor=object())


def test_video_is_taken_as_it_is_at_its_times() -> None:
    assert content_of(PROCESSOR, VIDEO) == [{"type": "video", "video": [FRAME, FRAME]}]
    expected = {"do_sample_frames": False, "video_metadata": [METADATA, METADATA]}
    assert video_options(PROCESSOR, [VIDEO, Media((FRAME,)), VIDEO]) == expected


def test_frames_are_images_where_the_processor_takes_no_video() -> None:
    without = SimpleNamespace(video_processor=None)
    assert content_of(without, VIDEO) == [{"type": "image", "image": FRAME}] * 2
    assert video_options(without, [VIDEO]) == {}
    assert video_options(PROCESSOR, [Media((FRAME,))]) == {}


def test_special_tokens_in_a_question_are_text(checkpoint: Path) -> None:
    model, processor = load(checkpoint, device="cpu")
    media = [Media((FRAME,))]
    plain = build_inputs(model, processor, media, "What?")
    for token in ("<|image_pad|>", "<|im_end|>", "<|vision_start|>"):
        inputs = build_inputs(model, processor, media, f"What {token}{token}?")
        special = processor.tokenizer.convert_tokens_to_ids(token)
        assert (inputs["input_ids"] == special).sum() == (plain["input_ids"] == special).sum()
        text = processor.tokenizer.decode(inputs["input_ids"][0])
        assert f"{token[0]}{BREAK}{token[1:]}" * 2 in text
    assert as_text(processor, "a <b|image_pad|> c") == "a <b|image_pad|> c"


def test_special_tokens_that_cannot_be_text() -> None:
    class Joining(SimpleNamespace):
        def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
            return {"input_ids": [7] if "<image>" in text.replace(BREAK, "") else []}

    tokens = {7: AddedToken("<image>", special=True)}
    processor = SimpleNamespace(tokenizer=Joining(added_tokens_decoder=tokens, unk_token_id=None))
    with pytest.raises(ValueError, match="holds <image>, which the model reserves"):
        as_text(processor, "an <image>?")


def test_prompts_beyond_the_context(checkpoint: Path) -> None:
    model, processor = load(checkpoint, device="cpu")
    model.config.get_text_config().max_position_embeddings = 300
    build_inputs(model, processor, [Media((FRAME,))], "a" * 200, 40)
    with pytest.raises(ValueError, match="context holds 300"):
        build_inputs(model, processor, [Media((FRAME,))], "a" * 200, 90)
    with pytest.raises(ValueError, match="context holds 300"):
        build_inputs(model, processor, [Media((FRAME,))], "a" * 400)


def test_processors_that_fail(checkpoint: Path) -> None:
    model, processor = load(checkpoint, device="cpu")
    processor.image_processor.patch_size = 0
    with pytest.raises(ValueError, match="the model's processor fails: "):
        build_inputs(model, processor, [Media((FRAME,))], "What?")


def test_what_is_no_prompt(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no UTF-8"):
        read_prompt([str(image), "What\udcff?"])
    monkeypatch.setattr(prompt, "PROMPT_PIXELS", 2 * 112 * 84)
    assert len(read_prompt([str(image)] * 2 + ["What?"])[0]) == 2
    with pytest.raises(ValueError, match="the images hold 28,224 pixels"):
        read_prompt([str(image)] * 3 + ["What?"])
