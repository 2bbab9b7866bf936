"""Stretches of blocks on filled-up rows, as a GPU captures them: nobody sees what fills up."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import ipcv
from ipcv.vision.pruning import PruningEngine, PruningMethod
from tests.vllm.checkpoints import save_for_vllm
from tests.vllm.conftest import engine, on_model
from tests.vllm.scenes import MAX_TOKENS, cases, expected
from tests.vllm.test_families import IMAGES, Served, in_vllm, replaced, varlen_by_loops

COUNT = 8
PACKED = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "glm4v", "mistral3"]


@pytest.fixture(scope="module", params=PACKED)
def served(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp(request.param)
    model, processor = save_for_vllm(request.param, folder)
    with engine(folder, {}) as llm:
        yield Served(request.param, llm, model, processor)


@pytest.mark.parametrize("attention", ["sdpa", "flash"])
@pytest.mark.parametrize(
    "vision",
    [
        ipcv.IPCV(prune_layer=1, reduction_ratio=0.65, stabilization_layers=1),
        ipcv.IPCV(prune_layer=2, reduction_ratio=0.4, stabilization_layers=0),
        ipcv.IPCV(prune_layer=1, reduction_ratio=0),
        ipcv.Adaptive(0.6),
        ipcv.Adaptive(tolerance=0.9),
        ipcv.Adaptive(0.6, smooth_share=1.0),
    ],
    ids=str,
)
def test_visual_tokens(
    served: Served, monkeypatch: pytest.MonkeyPatch, attention: str, vision: PruningMethod
) -> None:
    """Whatever else is in the batch, and whatever was in the buffers before."""
    monkeypatch.setattr("ipcv.integrations.vllm.innermost.flash_attention", lambda: varlen_by_loops)
    with replaced(served, vision, attention):
        called = in_vllm(served, IMAGES)
    with replaced(served, vision, attention, graphs=True):
        together = in_vllm(served, IMAGES)
        alone = [in_vllm(served, [image])[0] for image in IMAGES]
        again = in_vllm(served, IMAGES)
    for others in (called, alone, again):
        torch.testing.assert_close(together, others, rtol=0, atol=2e-6)


class Recording(TorchDispatchMode):
    """In the place of a graph: operators on tensors that stay where they are, and no Python."""

    def __init__(self, call: Callable[[], torch.Tensor], output: torch.Tensor, other: Any) -> None:
        super().__init__()
        self.steps: list[tuple[Any, ...]] = []
        before = output.clone()
        with self:
            output.copy_(call())
        output.copy_(before)  # capturing computes nothing

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        results = operator(*args, **kwargs or {})
        self.steps.append((operator, args, kwargs or {}, results))
        return results

    def replay(self) -> None:
        for operator, args, kwargs, results in self.steps:
            for old, new in zip(
                *map(tree_leaves, (results, operator(*args, **kwargs))), strict=True
            ):
                if torch.is_tensor(old) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


@torch.library.custom_op("ipcv_tests::varlen", mutates_args=())
def varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    softmax_scale: float,
    fa_version: int | None = None,
) -> torch.Tensor:
    """One operator, as flash attention is."""
    return varlen_by_loops(
        query,
        key,
        value,
        cu_seqlens_q=cu_seqlens_q,
        cu_seqlens_k=cu_seqlens_k,
        max_seqlen_q=max_seqlen_q,
        max_seqlen_k=max_seqlen_k,
        softmax_scale=softmax_scale,
        fa_version=fa_version,
    )


@pytest.mark.parametrize("vision", [ipcv.Adaptive(0.6), ipcv.IPCV(1, 0.65, 1)], ids=str)
def test_replays(served: Served, monkeypatch: pytest.MonkeyPatch, vision: PruningMethod) -> None:
    """Of what was recorded with other images; buckets are wide enough for all to share one."""
    monkeypatch.setattr("ipcv.integrations.vllm.innermost.flash_attention", lambda: varlen)
    monkeypatch.setattr("ipcv.integrations.vllm.graphs.capture", Recording)
    monkeypatch.setattr("ipcv.integrations.vllm.graphs.bucket", lambda number: 256)
    with replaced(served, vision, "flash"):
        called = [in_vllm(served, [image])[0] for image in IMAGES]
    with replaced(served, vision, "flash", graphs=True) as graphs:
        graphs.captures = True
        replayed = [in_vllm(served, [image])[0] for image in IMAGES]
        count = len(stretches_of(graphs))
    assert len(graphs.captured) == count
    torch.testing.assert_close(replayed, called, rtol=0, atol=2e-6)


def rows_in_the_end(served: Served, image: Image.Image) -> int:
    """How many the last block runs on."""
    usual: PruningEngine[Any] = on_model(served.llm, lambda model: model.ipcv)
    tower, rows = usual.adapter, []

    def see(norm: Any, args: tuple[torch.Tensor, ...]) -> None:
        rows.append(args[0].shape[:2].numel())

    hook = tower.norm(tower.blocks[-1]).register_forward_pre_hook(see)
    in_vllm(served, [image])
    hook.remove()
    (only,) = rows
    return only


def test_rows_are_filled_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a bucket; not where there are many."""
    from ipcv.integrations.vllm.graphs import bucket

    vision = ipcv.Adaptive(0.6)
    with replaced(served, vision):
        kept = [rows_in_the_end(served, image) for image in IMAGES]
    with replaced(served, vision, graphs=True):
        filled = [rows_in_the_end(served, image) for image in IMAGES]
        monkeypatch.setattr("ipcv.integrations.vllm.graphs.MOST_ROWS", 1)
        assert [rows_in_the_end(served, image) for image in IMAGES] == kept
    assert filled == [bucket(rows) for rows in kept]
    assert filled != kept


def test_stretches_end_where_something_happens(served: Served) -> None:
    """Of four blocks; the last attends otherwise in Qwen2.5-VL, and in Qwen3-VL one is tapped."""

    def blocks(vision: PruningMethod) -> list[list[int]]:
        with replaced(served, vision) as graphs:
            return stretches_of(graphs)

    end = [[2], [3]] if served.name in ("qwen2_5_vl", "qwen3_vl") else [[2, 3]]
    assert blocks(ipcv.IPCV(1, stabilization_layers=1)) == [[0], *end]
    assert blocks(ipcv.IPCV(2, stabilization_layers=0)) == [[0], [1], *end]
    assert blocks(ipcv.Adaptive()) == [[0], [1], *end]


def stretches_of(graphs: Any) -> list[list[int]]:
    from ipcv.integrations.vllm.graphs import stretches

    return [list(stretch) for stretch in stretches(graphs.engine, graphs.tower)]


def test_buckets() -> None:
    from ipcv.integrations.vllm.graphs import bucket

    for number in range(1, 5000):
        length = bucket(number)
        assert number <= length <= max(number + 1, 1.25 * number)
        assert bucket(length) == length
    assert len({bucket(number) for number in range(1, 4097)}) == 8 + 4 * 9


def test_answers(padded: Path) -> None:
    """Of the embedded model, by settings of a server."""
    from vllm import SamplingParams

    requests = [{"prompt": x.prompt, "multi_modal_data": x.media} for x in cases(COUNT)]
    with engine(padded, {"encoder_graphs": True}) as llm:
        parameters = SamplingParams(temperature=0, max_tokens=MAX_TOKENS)
        outputs = llm.generate(requests, parameters, use_tqdm=False)
    answers = [list(output.outputs[0].token_ids) for output in outputs]
    assert answers == expected(COUNT, ipcv.Adaptive())
