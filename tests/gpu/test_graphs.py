"""What only a GPU can show of vLLM's encoders: captured blocks are what they are called."""

from pathlib import Path

import pytest
import torch

import ipcv
from ipcv.vision.pruning import PruningMethod

pytest.importorskip("vllm")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "mistral3"])
@pytest.mark.parametrize("vision", [ipcv.Adaptive(0.6), ipcv.IPCV(1, 0.65, 1)], ids=str)
def test_replays_equal_calls(tmp_path: Path, name: str, vision: PruningMethod) -> None:
    """Of a graph that was captured with other images, too."""
    from tests.vllm.checkpoints import save_for_vllm
    from tests.vllm.conftest import engine
    from tests.vllm.test_families import IMAGES, Served, in_vllm, replaced

    model, processor = save_for_vllm(name, tmp_path)
    with engine(tmp_path, {}, dtype="bfloat16") as llm:
        served = Served(name, llm, model, processor)
        with replaced(served, vision, "flash"):
            called = [in_vllm(served, [image])[0] for image in IMAGES]
        with replaced(served, vision, "flash", graphs=True) as graphs:
            for _ in range(2):
                replayed = [in_vllm(served, [image])[0] for image in IMAGES]
        assert graphs.captured
    torch.testing.assert_close(replayed, called, rtol=2e-2, atol=2e-2)
