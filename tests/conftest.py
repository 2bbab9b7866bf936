from pathlib import Path

import pytest
from PIL import Image

from tests.checkpoints import save_qwen2_vl


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Qwen2-VL checkpoint on disk."""
    return save_qwen2_vl(tmp_path_factory.mktemp("qwen2_vl"))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.linear_gradient("L").resize((112, 84)).convert("RGB").save(path)
    return path
