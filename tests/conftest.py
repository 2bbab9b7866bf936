from pathlib import Path

import pytest
from hypothesis import settings
from PIL import Image

from tests.checkpoints import save_qwen2_vl

settings.register_profile("ipcv", deadline=None)  # the first example pays for imports
settings.load_profile("ipcv")


@pytest.fixture(autouse=True)
def one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variants are timed once: no test tells times."""
    for module in ("quality.evaluation", "tuning.task"):
        monkeypatch.setattr(f"ipcv.bench.{module}.TURNS", 1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Qwen2-VL checkpoint on disk."""
    return save_qwen2_vl(tmp_path_factory.mktemp("qwen2_vl"))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.linear_gradient("L").resize((112, 84)).convert("RGB").save(path)
    return path
