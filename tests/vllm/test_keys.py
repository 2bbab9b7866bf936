"""Keys of encoder outputs, which servers with other settings must not share."""

from pathlib import Path
from typing import Any

import pytest

from tests.vllm.scenes import cases
from tests.vllm.test_refusals import configured


def keys(model: Path, ipcv: dict[str, Any] | None, name: str | None = None) -> list[str]:
    """Of two images, of which the first may have a name that the client gave it."""
    from vllm.multimodal import MULTIMODAL_REGISTRY

    config = configured(model, ipcv)
    processor = MULTIMODAL_REGISTRY.create_processor(config.model_config)
    images = [case.images[0] for case in cases(16)[:2]]
    output = processor(
        cases(16)[0].prompt.replace("<|image_pad|>", "<|image_pad|><|image_pad|>"),
        processor.info.parse_mm_data({"image": images}),
        {"image": [name, None]},
    )
    hashes: list[str] = output["mm_hashes"]["image"]
    return hashes


@pytest.mark.parametrize("name", [None, "cat"])
def test_settings_are_in_the_keys(padded: Path, name: str | None) -> None:
    plain = keys(padded, None, name)
    settings = [{}, {"reduction_ratio": 0.5}, {"method": "ipcv"}, {"keep_tokens": 0.5}]
    compressed = [keys(padded, one, name) for one in settings]
    assert len({key for found in [plain, *compressed] for key in found}) == 2 * 5
    assert keys(padded, {"reduction_ratio": 0.65}, name) == compressed[0]  # the default
    assert plain[0] == name or name is None
