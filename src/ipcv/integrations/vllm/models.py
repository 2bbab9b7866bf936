"""vLLM's models with a compressed vision encoder. Where IPCV is off they are vLLM's own.

A class has the name of the architecture that it serves, without `ForConditionalGeneration` or
`Model`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from torch import nn
from vllm.distributed import tensor_model_parallel_all_gather
from vllm.distributed.parallel_state import get_tp_group
from vllm.logger import init_logger
from vllm.model_executor.models.clip import CLIPVisionModel
from vllm.model_executor.models.gemma3_mm import Gemma3ForConditionalGeneration
from vllm.model_executor.models.gemma4_mm import Gemma4ForConditionalGeneration
from vllm.model_executor.models.glm4_1v import (
    Glm4vForConditionalGeneration,
    Glm4vMoeForConditionalGeneration,
)
from vllm.model_executor.models.glm_ocr import GlmOcrForConditionalGeneration
from vllm.model_executor.models.idefics3 import Idefics3ForConditionalGeneration
from vllm.model_executor.models.interns1 import InternS1ForConditionalGeneration
from vllm.model_executor.models.internvl import InternVLChatModel
from vllm.model_executor.models.llava import LlavaForConditionalGeneration
from vllm.model_executor.models.llava_onevision import LlavaOnevisionForConditionalGeneration
from vllm.model_executor.models.mistral3 import Mistral3ForConditionalGeneration
from vllm.model_executor.models.pixtral import PixtralHFVisionModel
from vllm.model_executor.models.qwen2_5_vl import Qwen2_5_VLForConditionalGeneration
from vllm.model_executor.models.qwen2_vl import Qwen2VLForConditionalGeneration
from vllm.model_executor.models.qwen3_vl import Qwen3VLForConditionalGeneration
from vllm.model_executor.models.qwen3_vl_moe import Qwen3VLMoeForConditionalGeneration
from vllm.model_executor.models.siglip import SiglipVisionModel
from vllm.model_executor.models.smolvlm import SmolVLMForConditionalGeneration
from vllm.model_executor.models.utils import StageMissingLayer

from ipcv.integrations.vllm.batched_towers import (
    ClipTower,
    Gemma4Tower,
    Idefics3Tower,
    InternVLChatTower,
    InternVLTower,
    SiglipTower,
)
from ipcv.integrations.vllm.checks import settings_of
from ipcv.integrations.vllm.graphs import Graphs
from ipcv.integrations.vllm.metrics import Counters, Uncounted
from ipcv.integrations.vllm.packed_towers import (
    DeepStackTower,
    FramesTower,
    PackedTower,
    PixtralTower,
    WindowedTower,
)
from ipcv.integrations.vllm.processors import with_processor
from ipcv.integrations.vllm.shorter import ShorterFrames, ShorterTiles, ShorterVideos
from ipcv.integrations.vllm.tiles import INTERNVL_METHODS, LLAVA_ONEVISION_METHODS, TilesReaders
from ipcv.integrations.vllm.tower import Tower
from ipcv.vision.pruning import PruningEngine

logger = init_logger("vllm.ipcv")  # below "vllm", whose log has a handler


class Compressed:
    """Compresses the encoder of the model it is mixed into, if the engine is configured to.

    Attributes:
        ipcv: what does it; `None` where it is off.
    """

    ipcv: PruningEngine[Any] | None = None
    tower: ClassVar[type[Tower] | type[Gemma4Tower]]
    encoder_name: ClassVar[str] = "visual"
    tiles: ClassVar[TilesReaders] = {}

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)  # type: ignore[call-arg]
        if (settings := settings_of(vllm_config)) is None:
            return
        if settings.tokens is not None:
            self.ipcv_settings = settings
        encoder = self.get_submodule(self.encoder_name)  # type: ignore[attr-defined]
        if isinstance(encoder, StageMissingLayer):
            logger.info("IPCV inactive: this worker has no vision encoder")
            return
        adapter = self.tower_of(encoder)(encoder, settings.attention)
        adapter.tile_sources = [
            (self, name, partial(read, self))  # type: ignore[misc]
            for name, read in self.tiles.items()
        ]
        multimodal = vllm_config.model_config.multimodal_config
        is_sharded = multimodal.mm_encoder_tp_mode == "weights" and get_tp_group().world_size > 1
        counts = not is_sharded or get_tp_group().is_first_rank
        record = Counters().add if counts else Uncounted().add
        self.ipcv = settings.vision.engine(adapter, record)
        if is_sharded:
            # Sums over ranks need not be bitwise the same on each, and one patch more or less
            # would be fatal: all choose by the states of the first.
            if isinstance(adapter, Tower):
                adapter.gather_heads = partial(tensor_model_parallel_all_gather, dim=1)
            self.ipcv.agree = get_tp_group().broadcast
        if settings.encoder_graphs:
            assert isinstance(adapter, Tower)  # else the settings were refused
            Graphs(self.ipcv, adapter).attach()
        self.ipcv.attach()
        logger.info("IPCV active: %s, attention: %s", settings.vision, adapter.asking)

    @classmethod
    def tower_of(cls, encoder: nn.Module) -> type[Tower] | type[Gemma4Tower]:
        """The adapter's class for an encoder."""
        return cls.tower


@with_processor
class Qwen2VL(Compressed, ShorterVideos, Qwen2VLForConditionalGeneration):  # type: ignore[misc]
    """Qwen2-VL."""

    tower = PackedTower


@with_processor
class Qwen2_5_VL(Compressed, ShorterVideos, Qwen2_5_VLForConditionalGeneration):  # type: ignore[misc]  # noqa: N801
    """Qwen2.5-VL."""

    tower = WindowedTower


@with_processor
class Qwen3VL(Compressed, ShorterFrames, Qwen3VLForConditionalGeneration):  # type: ignore[misc]
    """Qwen3-VL."""

    tower = DeepStackTower


@with_processor
class Qwen3VLMoe(Compressed, ShorterFrames, Qwen3VLMoeForConditionalGeneration):  # type: ignore[misc]
    """Qwen3-VL with mixtures of experts."""

    tower = DeepStackTower


@with_processor
class Glm4v(Compressed, ShorterFrames, Glm4vForConditionalGeneration):  # type: ignore[misc]
    """GLM-4.1V and GLM-4.6V-Flash."""

    tower = FramesTower


@with_processor
class Glm4vMoe(Compressed, ShorterFrames, Glm4vMoeForConditionalGeneration):  # type: ignore[misc]
    """GLM-4.5V and GLM-4.6V."""

    tower = FramesTower


@with_processor
class GlmOcr(Compressed, ShorterFrames, GlmOcrForConditionalGeneration):  # type: ignore[misc]
    """GLM-OCR."""

    tower = FramesTower


@with_processor
class InternVL(Compressed, ShorterTiles, InternS1ForConditionalGeneration):  # type: ignore[misc]
    """InternVL checkpoints for `transformers`."""

    tower = InternVLTower
    encoder_name = "vision_tower"
    tiles = INTERNVL_METHODS


@with_processor
class InternVLChat(Compressed, InternVLChatModel):  # type: ignore[misc]
    """InternVL checkpoints with remote code."""

    tower = InternVLChatTower
    encoder_name = "vision_model"
    tiles = INTERNVL_METHODS


@with_processor
class Mistral3(Compressed, Mistral3ForConditionalGeneration):  # type: ignore[misc]
    """Mistral 3: Pixtral's encoder."""

    tower = PixtralTower
    encoder_name = "vision_tower"


@with_processor
class Gemma3(Compressed, Gemma3ForConditionalGeneration):  # type: ignore[misc]
    """Gemma 3: SigLIP's encoder."""

    tower = SiglipTower
    encoder_name = "vision_tower"


@with_processor
class Gemma4(Compressed, Gemma4ForConditionalGeneration):  # type: ignore[misc]
    """Gemma 4."""

    tower = Gemma4Tower
    encoder_name = "vision_tower"


LLAVA_TOWERS: dict[type[nn.Module], type[Tower]] = {
    CLIPVisionModel: ClipTower,
    SiglipVisionModel: SiglipTower,
    PixtralHFVisionModel: PixtralTower,
}


class AnyOfLlava(Compressed):
    """Whose checkpoints name one of several encoders."""

    encoder_name = "vision_tower"

    @classmethod
    def tower_of(cls, encoder: nn.Module) -> type[Tower]:
        """That of the encoder's class."""
        return LLAVA_TOWERS[type(encoder)]


@with_processor
class Llava(AnyOfLlava, LlavaForConditionalGeneration):  # type: ignore[misc]
    """LLaVA 1.5, and Pixtral in its place."""


@with_processor
class LlavaOnevision(AnyOfLlava, LlavaOnevisionForConditionalGeneration):  # type: ignore[misc]
    """LLaVA-OneVision."""

    tiles = LLAVA_ONEVISION_METHODS


@with_processor
class SmolVLM(Compressed, SmolVLMForConditionalGeneration):  # type: ignore[misc]
    """SmolVLM."""

    tower = Idefics3Tower
    encoder_name = "model.vision_model"


@with_processor
class Idefics3(Compressed, Idefics3ForConditionalGeneration):  # type: ignore[misc]
    """Idefics 3."""

    tower = Idefics3Tower
    encoder_name = "model.vision_model"
