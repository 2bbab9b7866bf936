"""What lmms-eval asks of a model, for every kind of prompt."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from ipcv.inputs.loading import load
from ipcv.inputs.prompt import Media, build_inputs, read_video
from ipcv.models import TINY
from tests.inputs.test_media import save_video

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # lmms-eval's own warnings

GREEDY = {"max_new_tokens": 6, "until": ["\n\n"]}


def picture(colour: str, side: int = 112) -> dict[str, Any]:
    return {"type": "image", "url": Image.new("RGB", (side, side), colour)}


def requests(documents: list[list[dict[str, Any]]], settings: list[dict[str, Any]]) -> list[Any]:
    """One per document, as a task builds them."""
    from lmms_eval.api.instance import Instance

    return [
        Instance(
            request_type="generate_until",
            arguments=(
                "",
                lambda content: [{"role": "user", "content": content}],
                generation,
                index,
                "task",
                "test",
            ),
            idx=0,
            metadata={"task": "task", "doc_id": index, "repeats": 1},
        )
        for index, generation in enumerate(settings)
    ]


def answers(
    documents: list[list[dict[str, Any]]], settings: list[dict[str, Any]], **arguments: Any
) -> list[str]:
    from ipcv.integrations.lmms_eval.model import Model

    model = Model(pretrained=str(TINY), **arguments)
    model.task_dict["task"] = {"test": documents}
    result = model.generate_until(requests(documents, settings))
    model.clean()
    assert not hasattr(model, "model")
    return result


@pytest.fixture
def documents(tmp_path: Path) -> list[list[dict[str, Any]]]:
    """An image, text alone, several images, a video, and another image."""
    video = {"type": "video", "url": str(save_video(tmp_path / "video.mp4", 12))}
    ask = {"type": "text", "text": "What colour is the star?"}
    return [
        [picture("red"), ask],
        [ask],
        [picture("blue"), picture("green", 84), ask],
        [video, ask],
        [picture("yellow", 140), ask],
    ]


@pytest.mark.parametrize("compression", [{"compress": False}, {"language": "dart"}])
def test_kinds_of_prompts_in_batches(
    documents: list[list[dict[str, Any]]], compression: dict[str, Any]
) -> None:
    settings = [GREEDY] * len(documents)
    alone = answers(documents, settings, batch_size=1, num_frames=4, **compression)
    assert alone == answers(documents, settings, batch_size=5, num_frames=4, **compression)
    assert all(alone)


def test_uncompressed_answers_are_those_of_generate(
    documents: list[list[dict[str, Any]]],
) -> None:
    model, processor = load(TINY)
    media = [
        [Media((part["url"],)) for part in document if part["type"] == "image"]
        or [read_video(Path(part["url"]), 4) for part in document if part["type"] == "video"]
        for document in documents
    ]
    expected = []
    for items in media:
        inputs = build_inputs(model, processor, items, "What colour is the star?")
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=6, do_sample=False)
        new_tokens = output[0, inputs["input_ids"].shape[1] :]
        expected.append(processor.decode(new_tokens, skip_special_tokens=True))
    settings = [GREEDY] * len(documents)
    assert answers(documents, settings, compress=False, num_frames=4, batch_size=2) == expected


def test_generation_settings_are_each_request_s_own(
    documents: list[list[dict[str, Any]]],
) -> None:
    documents = documents[:1] * 3
    whole, short, stopped = answers(
        documents,
        [GREEDY, GREEDY | {"max_new_tokens": 1}, GREEDY | {"until": [""]}],
        batch_size=3,
    )
    assert whole == stopped
    assert whole.startswith(short)
    first, rest = answers(documents[:2], [GREEDY, GREEDY | {"until": [whole[1:]]}], batch_size=2)
    assert first == whole
    assert rest == whole[0]


@pytest.mark.parametrize(
    ("model_args", "message"),
    [
        (f"pretrained={TINY},method=ipcv,prune_layer=30", "beyond the encoder's 8 blocks"),
        (f"pretrained={TINY},compress=true,batch_size=x", "batch_size must be an integer"),
        ("pretrained=no/such/model", "neither a folder nor a hub id"),
        ("pretrained", "write model_args like"),
        ("", "pretrained is missing"),
    ],
)
def test_command_lines_end_in_one_line(model_args: str, message: str) -> None:
    from ipcv.integrations.lmms_eval.model import Model

    with pytest.raises(SystemExit) as stop:
        Model.create_from_arg_string(model_args, {"batch_size": 1, "device": None})
    assert str(stop.value.code).startswith("ipcv: ")
    assert message in str(stop.value.code)
    assert "\n" not in str(stop.value.code)


def test_what_is_not_offered() -> None:
    from ipcv.integrations.lmms_eval.model import Model

    model = Model(pretrained=str(TINY))
    with pytest.raises(NotImplementedError, match="generate_until tasks"):
        model.loglikelihood([])
    with pytest.raises(NotImplementedError, match="generate_until tasks"):
        model.generate_until_multi_round([])
