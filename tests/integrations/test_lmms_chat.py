from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from ipcv.baselines import Downsample
from ipcv.integrations.lmms_eval.chat import (
    DEFAULT_NEW_TOKENS,
    cut,
    generation_settings,
    read_messages,
    stop_strings,
)
from tests.inputs.test_media import save_video

IMAGES_ONLY = SimpleNamespace()
WITH_VIDEO = SimpleNamespace(video_processor=object())


def user(*content: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [*content, {"type": "text", "text": "What is it?"}]}]


def keep(image: Image.Image) -> Image.Image:
    return image


def test_text_alone() -> None:
    chat = read_messages(user(), WITH_VIDEO, 4, keep)
    assert chat.messages == user()
    assert (chat.kinds, chat.media) == ((False, False), [])


def test_images_from_pictures_and_paths(image: Path) -> None:
    grey = Image.new("L", (40, 20))
    parts = ({"type": "image", "url": grey}, {"type": "image", "url": str(image)})
    chat = read_messages(user(*parts), IMAGES_ONLY, 4, Downsample(0.5))
    pictures = [part["image"] for part in chat.messages[0]["content"][:2]]
    assert [(p.size, p.mode) for p in pictures] == [((20, 10), "RGB"), ((56, 42), "RGB")]
    assert chat.kinds == (True, False)


def test_video_keeps_its_times(tmp_path: Path) -> None:
    video = {"type": "video", "url": str(save_video(tmp_path / "video.mp4", 20))}
    chat = read_messages(user(video), WITH_VIDEO, 4, Downsample(0.5))
    part = chat.messages[0]["content"][0]
    assert part["type"] == "video"
    assert [frame.size for frame in part["video"]] == [(32, 24)] * 4
    assert chat.media[0].metadata == {
        "total_num_frames": 20,
        "fps": 5.0,
        "frames_indices": [2, 7, 12, 17],
    }
    assert chat.kinds == (False, True)


def test_video_as_images_where_the_processor_has_none(tmp_path: Path) -> None:
    video = {"type": "video", "url": str(save_video(tmp_path / "video.mp4", 20))}
    chat = read_messages(user(video), IMAGES_ONLY, 3, keep)
    assert [part["type"] for part in chat.messages[0]["content"]] == ["image"] * 3 + ["text"]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"type": "audio", "url": "a.wav"}, "not audio from str"),
        ({"type": "video", "url": {"video_start": 1}}, "not video from dict"),
        ({"type": "image", "url": "none.png"}, "does not exist"),
    ],
)
def test_what_cannot_be_read(part: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_messages(user(part), IMAGES_ONLY, 4, keep)


def test_greedy_whatever_the_checkpoint_says() -> None:
    off = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    assert generation_settings({})[0] == {"max_new_tokens": DEFAULT_NEW_TOKENS} | off
    hub_task = {"max_new_tokens": 16, "temperature": 0.0, "top_p": 1.0, "num_beams": 1}
    expected = {"max_new_tokens": 16, "num_beams": 1} | off
    assert generation_settings(hub_task | {"do_sample": False})[0] == expected
    assert generation_settings({"do_sample": True, "temperature": 0})[0]["do_sample"] is False
    assert generation_settings({"do_sample": False, "temperature": 0.7})[0]["temperature"] is None


def test_sampling() -> None:
    settings, _ = generation_settings({"temperature": 0.7, "top_p": 0.9})
    assert settings["do_sample"] is True
    assert (settings["temperature"], settings["top_p"]) == (0.7, 0.9)
    assert generation_settings({"do_sample": True})[0]["do_sample"] is True


def test_unknown_generation_settings_are_named() -> None:
    settings, unknown = generation_settings({"image_aspect_ratio": "original", "until": ["x"]})
    assert unknown == ["image_aspect_ratio"]
    assert "until" not in settings


def test_answers_end_at_the_first_stop() -> None:
    assert cut("a\n\nb. c", [".", "\n\n", ""]) == "a"
    assert cut("a b", ["\n\n"]) == "a b"
    assert cut("a b", stop_strings({"until": "b"})) == "a "
    assert stop_strings({"until": None}) == stop_strings({}) == []
