"""Every family in vLLM, against `ipcv.compress` on the same weights in `transformers`.

That in turn is tested against plain loops in `tests/vision/adapters`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

import ipcv
from ipcv.families import FAMILIES as ALL_FAMILIES
from ipcv.stats import Stats
from ipcv.vision.pruning import PruningEngine, PruningMethod
from tests.vllm.checkpoints import save_for_vllm
from tests.vllm.conftest import engine, on_model

VISION = ipcv.IPCV(prune_layer=1, reduction_ratio=0.65, stabilization_layers=2)
SETTINGS = {"method": "ipcv", **VISION.to_dict()}
FAMILIES = [family.model_types[0] for family in ALL_FAMILIES if family.served] + ["llava-clip"]
NEW_TOKENS = 6


class Served(NamedTuple):
    name: str
    llm: Any
    model: Any
    processor: Any


@pytest.fixture(scope="module", params=FAMILIES)
def served(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp(request.param)
    model, processor = save_for_vllm(request.param, folder)
    with engine(folder, SETTINGS) as llm:
        yield Served(request.param, llm, model, processor)


QWEN_MARKS = tuple(f"<|vision_start|><|{x}_pad|><|vision_end|>" for x in ("image", "video"))
GLM = ("glm4v", "glm4v_moe", "glm_ocr")
GLM_MARKS = tuple(f"<|begin_of_{x}|><|{x}|><|end_of_{x}|>" for x in ("image", "video"))
MARKS = {
    **dict.fromkeys(GLM, GLM_MARKS),
    "internvl": ("<IMG_CONTEXT>", "<video>"),
    "mistral3": ("[IMG]", ""),
    "gemma3": ("<start_of_image>", ""),
    "gemma4": ("<image>", "<|video|>"),
    "llava": ("[IMG]", ""),
    "llava-clip": ("<image>", ""),
    "llava_onevision": ("<image>", "<video>"),
    "smolvlm": ("<image>", ""),
    "idefics3": ("<image>", ""),
}
"""What stands in a prompt for an image, and for a video."""
ASKS_IN_ONE_WAY = "gemma4"
"""Whose encoder is that of `transformers`."""
CUT_IF_ALONE = "llava_onevision"
"""Where `transformers`, but not vLLM, cuts into tiles only what is alone in its prompt."""


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 255, (*shape, 3), dtype=np.uint8)


IMAGES = [Image.fromarray(noise(*size)) for size in ((32, 48), (40, 40), (24, 64))]
VIDEO = noise(4, 32, 48)
METADATA = {"fps": 1.0, "duration": 4.0, "total_num_frames": 4, "video_backend": "opencv"}
METADATA |= {"frames_indices": np.arange(4), "do_sample_frames": False}


def prompt(served: Served, images: int = 0, videos: int = 0) -> str:
    image, video = MARKS.get(served.name, QWEN_MARKS)
    return image * images + video * videos + "Hello"


def reference(served: Served, text: str, **media: Any) -> list[int]:
    inputs = served.processor(text=[text], return_tensors="pt", **media)
    with torch.inference_mode(), ipcv.compress(served.model, VISION):
        output = served.model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
    return output[0, inputs["input_ids"].shape[1] :].tolist()


def answers(served: Served, requests: list[dict[str, Any]]) -> list[list[int]]:
    from vllm import SamplingParams

    outputs = served.llm.generate(
        requests, SamplingParams(temperature=0, max_tokens=NEW_TOKENS), use_tqdm=False
    )
    return [list(output.outputs[0].token_ids) for output in outputs]


def test_answers_are_those_of_transformers(served: Served) -> None:
    asked = [IMAGES[: 1 if served.name == CUT_IF_ALONE else 2], IMAGES[2:]]
    texts = [prompt(served, images=len(images)) for images in asked]
    expected = [
        reference(served, text, images=images) for text, images in zip(texts, asked, strict=True)
    ]
    requests = [
        {"prompt": text, "multi_modal_data": {"image": images}}
        for text, images in zip(texts, asked, strict=True)
    ]
    assert answers(served, requests) == expected
    assert answers(served, requests[1:]) == expected[1:]


def inputs(served: Served, **media: Any) -> dict[str, Any]:
    """What vLLM's model takes for images or videos, by vLLM's own processor."""
    from vllm.multimodal import MULTIMODAL_REGISTRY
    from vllm.multimodal.utils import group_and_batch_mm_kwargs

    processor = MULTIMODAL_REGISTRY.create_processor(served.llm.model_config)
    text = prompt(served, **{f"{kind}s": len(items) for kind, items in media.items()})
    processed = processor(text, processor.info.parse_mm_data(media))["mm_kwargs"]
    items = [(kind, item) for kind, items in processed.items() for item in items]
    ((_, _, batch),) = group_and_batch_mm_kwargs(items)
    return batch


def in_vllm(served: Served, images: list[Image.Image], **others: Any) -> list[torch.Tensor]:
    """The visual tokens of each item: of others, then of images."""
    return embedded(served, others | inputs(served, image=images))


def embedded(served: Served, given: dict[str, Any]) -> list[torch.Tensor]:
    """The same, of what vLLM's model takes."""

    @torch.inference_mode()
    def embed(model: Any) -> list[torch.Tensor]:
        return list(model.embed_multimodal(**given))

    return on_model(served.llm, embed)


def in_transformers(
    served: Served, images: list[Image.Image], vision: PruningMethod
) -> torch.Tensor:
    """The visual tokens of all images, DeepStack's side by side."""
    if served.name == "internvl":  # tells the tiles of an image by the prompt
        text = prompt(served, images=len(images))
        given = served.processor(text=[text], images=images, return_tensors="pt")
        captured: list[torch.Tensor] = []
        projector = served.model.model.multi_modal_projector
        hook = projector.register_forward_hook(lambda *x: captured.append(x[2]))
        with torch.inference_mode(), ipcv.compress(served.model, vision):
            served.model(**given)
        hook.remove()
        return captured[0].flatten(0, 1)
    calls = [[image] for image in images] if served.name == CUT_IF_ALONE else [images]
    given = [served.processor.image_processor(images=x, return_tensors="pt") for x in calls]
    with torch.inference_mode(), ipcv.compress(served.model, vision):
        tokens = [side_by_side(served.model.get_image_features(**x)) for x in given]
    return torch.cat(tokens)


def side_by_side(output: Any) -> torch.Tensor:
    """Visual tokens and DeepStack's."""
    levels = [output.pooler_output, *(getattr(output, "deepstack_features", None) or [])]
    tokens = [x if torch.is_tensor(x) else torch.cat(list(x)) for x in levels]
    return torch.cat(tokens, dim=-1).flatten(0, -2)


@pytest.mark.parametrize("attention", ["sdpa", "full", "flash"])
@pytest.mark.parametrize("layers", [0, 2, 9])
@pytest.mark.parametrize("ratio", [0.3, 0.9])
def test_visual_tokens(
    served: Served, monkeypatch: pytest.MonkeyPatch, attention: str, layers: int, ratio: float
) -> None:
    vision = ipcv.IPCV(prune_layer=2, reduction_ratio=ratio, stabilization_layers=layers)
    monkeypatch.setattr("ipcv.integrations.vllm.innermost.flash_attention", lambda: varlen_by_loops)
    with replaced(served, vision, attention):
        together = in_vllm(served, IMAGES)
        alone = [in_vllm(served, [image])[0] for image in IMAGES]
        backwards = in_vllm(served, IMAGES[::-1])[::-1]
    expected = in_transformers(served, IMAGES, vision)
    torch.testing.assert_close(torch.cat(together), expected, rtol=1e-4, atol=1e-5)
    for others in (alone, backwards):
        for a, b in zip(together, others, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=2e-6)


@pytest.mark.parametrize("attention", ["sdpa", "full", "flash"])
@pytest.mark.parametrize(
    "vision",
    [
        ipcv.Adaptive(0.6),
        ipcv.Adaptive(tolerance=0.9),
        ipcv.Adaptive(0.6, smooth_share=1.0),
        ipcv.baselines.PixelPrune(0.5),
    ],
    ids=str,
)
def test_other_methods(
    served: Served, monkeypatch: pytest.MonkeyPatch, attention: str, vision: PruningMethod
) -> None:
    """Of `tolerance`, counts are known in the encoder alone, and differ between tiles."""
    monkeypatch.setattr("ipcv.integrations.vllm.innermost.flash_attention", lambda: varlen_by_loops)
    with replaced(served, vision, attention):
        together = in_vllm(served, IMAGES)
        alone = [in_vllm(served, [image])[0] for image in IMAGES]
    expected = in_transformers(served, IMAGES, vision)
    torch.testing.assert_close(torch.cat(together), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together, alone, rtol=0, atol=2e-6)


@pytest.mark.parametrize("layers", [0, 2])
def test_before_the_first_block(served: Served, layers: int) -> None:
    everything = 1000  # tiles have equal first tokens here: which is nearest is undecided
    vision = ipcv.IPCV(0, 0.6, layers, everything, selector="norm")
    with replaced(served, vision):
        tokens = in_vllm(served, IMAGES)
    expected = in_transformers(served, IMAGES, vision)
    torch.testing.assert_close(torch.cat(tokens), expected, rtol=1e-4, atol=1e-5)


def test_nothing_removed_is_bitwise_the_same(served: Served) -> None:
    vision = ipcv.IPCV(prune_layer=2, reduction_ratio=0)
    with replaced(served, vision):
        compressed = in_vllm(served, IMAGES)
    usual = on_model(served.llm, lambda model: model.ipcv)
    usual.detach()
    plain = in_vllm(served, IMAGES)
    usual.attach()
    for a, b in zip(compressed, plain, strict=True):
        assert torch.equal(a, b)


def test_norms_that_write_over_what_they_are_given(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the second norm of a block of GLM does on CUDA."""
    if served.name not in GLM:
        pytest.skip("adds apart from its norms")

    def in_place(norm: Any, x: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, ...]:
        normed, total = type(norm).forward(norm, x, residual)
        return x.copy_(normed), residual.copy_(total)

    for block in on_model(served.llm, lambda model: model.visual.blocks):
        monkeypatch.setattr(block.norm2, "forward", partial(in_place, block.norm2))
    vision = ipcv.IPCV(prune_layer=2, reduction_ratio=0.6, stabilization_layers=1)
    with replaced(served, vision):
        tokens = in_vllm(served, IMAGES)
    expected = in_transformers(served, IMAGES, vision)
    torch.testing.assert_close(torch.cat(tokens), expected, rtol=1e-4, atol=1e-5)


def test_video(served: Served) -> None:
    """Beside an image; of InternVL's videos every frame is an item."""
    if served.name in MARKS and not MARKS[served.name][1]:
        pytest.skip("no videos")
    given = inputs(served, video=[(VIDEO, METADATA)])
    if served.name == "internvl":
        video, method = {"pixel_values": given["pixel_values_videos"]}, "get_image_features"
    else:
        video = served.processor.video_processor(
            videos=[VIDEO], do_sample_frames=False, return_tensors="pt"
        )
        method = "get_video_features"
    tokens, _ = in_vllm(served, IMAGES[:1], **given)
    with torch.inference_mode(), ipcv.compress(served.model, VISION):
        expected = side_by_side(getattr(served.model.model, method)(**video))
    torch.testing.assert_close(tokens.flatten(0, -2), expected, rtol=1e-4, atol=1e-5)


@contextmanager
def replaced(
    served: Served, vision: PruningMethod, attention: str = "sdpa", graphs: bool = False
) -> Iterator[Any]:
    """Other settings for a while; what captures graphs, if anything is to."""
    from vllm.v1.attention.backends.registry import AttentionBackendEnum

    from ipcv.integrations.vllm.graphs import Graphs

    if served.name == ASKS_IN_ONE_WAY and attention != "sdpa":
        pytest.skip("asks in one way")
    usual: PruningEngine[Any] = on_model(served.llm, lambda model: model.ipcv)
    encoder: Any = on_model(served.llm, lambda model: model.get_submodule(model.encoder_name))
    tower: Any = type(usual.adapter)(encoder)
    tower.asking, tower.tile_sources = attention, usual.adapter.tile_sources
    usual.detach()
    other = vision.engine(tower, Stats().add)
    below = Graphs(other, tower)
    if graphs:
        below.attach()
    other.attach()
    attending = [] if attention != "flash" else [encoder, tower.attention(tower.blocks[0]).attn]
    for module in attending:  # then vLLM computes the longest segment
        module.attn_backend = AttentionBackendEnum.FLASH_ATTN
    try:
        yield below
    finally:
        for module in attending:
            module.attn_backend = tower.backend
        other.detach()
        below.detach()
        usual.attach()


def varlen_by_loops(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    softmax_scale: float,
    fa_version: int | None,
) -> torch.Tensor:
    """What flash attention computes, `(rows, heads, D)`; it checks the bounds it is told, too."""
    output = torch.zeros_like(query)
    for segment in range(len(cu_seqlens_q) - 1):
        q = slice(*cu_seqlens_q[segment : segment + 2].tolist())
        k = slice(*cu_seqlens_k[segment : segment + 2].tolist())
        assert q.stop - q.start <= max_seqlen_q
        assert k.stop - k.start <= max_seqlen_k
        weights = torch.einsum("qhd,khd->hqk", query[q], key[k]) * softmax_scale
        output[q] = torch.einsum("hqk,khd->qhd", weights.softmax(-1), value[k])
    return output
