"""vLLM's models with a compressed vision encoder. Where IPCV is off they are vLLM's own.

A class has the name of the architecture that it serves, without `ForConditionalGeneration` or
`Model`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

from vllm.distributed import tensor_model_parallel_all_gather
from vllm.distributed.parallel_state import get_tp_group
from vllm.logger import init_logger
from vllm.model_executor.models.interns1 import InternS1ForConditionalGeneration
from vllm.model_executor.models.internvl import InternVLChatModel
from vllm.model_executor.models.mistral3 import Mistral3ForConditionalGeneration
from vllm.model_executor.models.qwen2_5_vl import Qwen2_5_VLForConditionalGeneration
from vllm.model_executor.models.qwen2_vl import Qwen2VLForConditionalGeneration
from vllm.model_executor.models.qwen3_vl import Qwen3VLForConditionalGeneration
from vllm.model_executor.models.qwen3_vl_moe import Qwen3VLMoeForConditionalGeneration
from vllm.model_executor.models.utils import StageMissingLayer

from ipcv.core.arguments import Arguments
from ipcv.integrations.vllm.checks import settings_of
from ipcv.integrations.vllm.metrics import Counters, Uncounted
from ipcv.integrations.vllm.processors import with_processor
from ipcv.integrations.vllm.shorter import Shorter
from ipcv.integrations.vllm.tower import Tower
from ipcv.integrations.vllm.towers import (
    DeepStackTower,
    InternVLChatTower,
    InternVLTower,
    PackedTower,
    PixtralTower,
    WindowedTower,
)
from ipcv.vision.pruning import PruningEngine

logger = init_logger("vllm.ipcv")  # below "vllm", whose log has a handler


class Compressed:
    """Compresses the encoder of the model it is mixed into, if the engine is configured to.

    Attributes:
        ipcv: what does it; `None` where it is off.
    """

    ipcv: PruningEngine[Any] | None = None
    tower: ClassVar[type[Tower]]
    encoder_name: ClassVar[str] = "visual"

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)  # type: ignore[call-arg]
        if (settings := settings_of(vllm_config)) is None:
            return
        encoder = getattr(self, self.encoder_name)
        if isinstance(encoder, StageMissingLayer):
            logger.info("IPCV inactive: this worker has no vision encoder")
            return
        if settings.tokens is not None:
            self.ipcv_settings = settings
        adapter = self.tower(encoder, settings.attention)
        self._locate_items(adapter)
        multimodal = vllm_config.model_config.multimodal_config
        is_sharded = multimodal.mm_encoder_tp_mode == "weights" and get_tp_group().world_size > 1
        counts = not is_sharded or get_tp_group().is_first_rank
        record = Counters().add if counts else Uncounted().add
        self.ipcv = settings.vision.engine(adapter, record)
        if is_sharded:
            # Sums over ranks need not be bitwise the same on each, and one patch more or less
            # would be fatal: all choose by the states of the first.
            adapter.gather_heads = partial(tensor_model_parallel_all_gather, dim=1)
            self.ipcv.agree = get_tp_group().broadcast
        self.ipcv.attach()
        logger.info("IPCV active: %s, attention: %s", settings.vision, adapter.asking)

    def _locate_items(self, adapter: Tower) -> None:
        """Tell the adapter where to read which rows belong together, if not in the call itself."""


class CompressedTiles(Compressed):
    """InternVL: an image is several tiles, a frame of a video is one."""

    tower = InternVLTower
    encoder_name = "vision_tower"

    def _locate_items(self, adapter: Tower) -> None:
        adapter.tile_sources = [(self, "_process_vision_input", _tiles)]  # type: ignore[list-item]


def _tiles(arguments: Arguments) -> Sequence[int]:
    given = arguments["image_input"]
    if given["type"] == "pixel_values":
        return [int(count) for count in given["num_patches"]]
    return []


@with_processor
class Qwen2VL(Compressed, Shorter, Qwen2VLForConditionalGeneration):  # type: ignore[misc]
    """Qwen2-VL."""

    tower = PackedTower


@with_processor
class Qwen2_5_VL(Compressed, Shorter, Qwen2_5_VLForConditionalGeneration):  # type: ignore[misc]  # noqa: N801
    """Qwen2.5-VL."""

    tower = WindowedTower


@with_processor
class Qwen3VL(Compressed, Qwen3VLForConditionalGeneration):  # type: ignore[misc]
    """Qwen3-VL."""

    tower = DeepStackTower


@with_processor
class Qwen3VLMoe(Compressed, Qwen3VLMoeForConditionalGeneration):  # type: ignore[misc]
    """Qwen3-VL with mixtures of experts."""

    tower = DeepStackTower


@with_processor
class InternVL(CompressedTiles, InternS1ForConditionalGeneration):  # type: ignore[misc]
    """InternVL checkpoints for `transformers`."""


@with_processor
class InternVLChat(CompressedTiles, InternVLChatModel):  # type: ignore[misc]
    """InternVL checkpoints with remote code."""

    tower = InternVLChatTower
    encoder_name = "vision_model"


@with_processor
class Mistral3(Compressed, Mistral3ForConditionalGeneration):  # type: ignore[misc]
    """Mistral 3: Pixtral's encoder."""

    tower = PixtralTower
    encoder_name = "vision_tower"
