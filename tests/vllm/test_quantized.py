"""Weights and activations in int8, in the vision encoder as in the language model."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import ipcv
from ipcv.bench.scenes import draw_scene
from tests.vision.adapters.families import Item
from tests.vision.adapters.reference import PlainItem
from tests.vllm.conftest import engine, on_model
from tests.vllm.quantized import quantize
from tests.vllm.scenes import cases, expected, model_and_processor
from tests.vllm.test_families import Served, embedded, inputs, replaced
from tests.vllm.test_offline import ADAPTIVE, COUNT, ask, tokens

SIZES = ((112, 112), (140, 84), (84, 196))
IMAGES = [draw_scene(seed, size).image for seed, size in enumerate(SIZES)]
VISION = ipcv.preset(model_and_processor()[0], published=True).vision


@pytest.fixture(scope="module")
def quantized(padded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantize(padded, tmp_path_factory.mktemp("quantized") / "int8")


@pytest.fixture(scope="module")
def served(quantized: Path) -> Iterator[Served]:
    with engine(quantized, {"reduction_ratio": 0.65}) as llm:
        yield Served("qwen2_vl", llm, *model_and_processor())


def test_nothing_removed_is_bitwise_the_same(quantized: Path) -> None:
    results = []
    for settings in (None, {"reduction_ratio": 0}):
        with engine(quantized, settings) as llm:
            outputs = ask(llm, cases(COUNT)[:10], logprobs=1)
        results.append([(x.token_ids, x.cumulative_logprob) for x in outputs])
    assert results[0] == results[1]


def test_weights_are_quantized(served: Served) -> None:
    """VLLM holds them in a form of its own: there is nothing to slice."""
    text, vision = on_model(served.llm, lambda m: (m.language_model.model, m.visual))
    for layer in (text.layers[0].self_attn.qkv_proj, vision.blocks[0].attn.qkv):
        assert layer.weight is None


@pytest.mark.parametrize("attention", ["sdpa", "full"])
def test_encoder_equals_plain_loops(served: Served, attention: str) -> None:
    """Over vLLM's own blocks. Rounding makes a step out of the last bit of a sum now and then."""
    given = inputs(served, image=IMAGES)
    with replaced(served, VISION, attention):
        compressed = captured(served, given)["output"]
    usual = on_model(served.llm, lambda model: model.ipcv)
    usual.detach()
    plain = captured(served, given)
    lengths = given["image_grid_thw"].prod(-1).tolist()
    images = torch.arange(sum(lengths)).split(lengths)
    reference = torch.cat([by_loops(served, plain, rows) for rows in images])
    usual.attach()
    assert distance(compressed, reference) < 0.005
    assert distance(plain["output"], reference) > 0.3


def captured(served: Served, given: dict) -> dict[str, torch.Tensor]:
    """What the first block is called with, and what the last one returns."""
    call: dict[str, torch.Tensor] = {}
    visual = on_model(served.llm, lambda model: model.visual)
    hooks = [
        visual.blocks[0].register_forward_pre_hook(
            lambda _, states, others: call.update(others, states=states[0][:, 0]), with_kwargs=True
        ),
        visual.merger.register_forward_pre_hook(
            lambda _, states: call.update(output=states[0][:, 0])
        ),
    ]
    embedded(served, given)
    for hook in hooks:
        hook.remove()
    return call


@torch.inference_mode()
def by_loops(served: Served, call: dict[str, torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
    """What the last block returns for the rows of an image."""
    blocks = on_model(served.llm, lambda model: model.visual.blocks)

    def run(block: int, rows: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        rotary = {name: x[rows] for name, x in call.items() if name.startswith("rotary")}
        segment = torch.tensor([0, len(rows)], dtype=torch.int32)
        return blocks[block](states[:, None], cu_seqlens=segment, **rotary)[:, 0]

    plain = PlainItem(Item([rows], lambda block: [rows]), VISION, run)
    return plain.outputs(call["states"], len(blocks))[-1]


def distance(states: torch.Tensor, reference: torch.Tensor) -> float:
    return float((states - reference).norm() / reference.norm())


def test_answers(served: Served) -> None:
    """Nearly always those of the float model, compressed."""
    got, floats = tokens(ask(served.llm, cases(COUNT)[:20])), expected(COUNT, ADAPTIVE)[:20]
    assert sum(a == b for a, b in zip(got, floats, strict=True)) >= 18
