"""Refusals at start-up, by every process that makes an engine's configuration."""

from __future__ import annotations

from typing import Any

from vllm.config import CUDAGraphMode
from vllm.logger import init_logger
from vllm.model_executor.models.config import MODELS_CONFIG_MAP, VerifyAndUpdateConfig
from vllm.model_executor.models.registry import ModelRegistry
from vllm.v1.attention.backends.registry import AttentionBackendEnum

from ipcv.integrations.vllm import MODELS
from ipcv.integrations.vllm.processors import remember
from ipcv.integrations.vllm.settings import (
    KEY,
    ONE_DIMENSIONAL,
    SERVED,
    Settings,
    give_mrope,
)
from ipcv.language.divprune import DivPrune

logger = init_logger("vllm.ipcv")  # below "vllm", whose log has a handler

_MROPE_LENGTHS = 4
"""Positions of vLLM's M-RoPE, in lengths of the text that a model has learned."""


def settings_of(vllm_config: Any) -> Settings | None:
    """The settings an engine was configured with; `None` where IPCV is off, and for a draft model.

    Raises:
        ValueError: a setting is wrong, or the engine is configured for what cannot be combined.
    """
    additional = vllm_config.additional_config
    if not isinstance(additional, dict) or KEY not in additional:
        return None
    model_config, compilation = vllm_config.model_config, vllm_config.compilation_config
    if _is_draft(model_config, vllm_config.speculative_config):
        return None
    settings = Settings.from_config(additional[KEY], model_config.hf_config)
    unknown = set(model_config.architectures) - set(MODELS)
    if unknown:
        raise ValueError(
            f"ipcv cannot compress {', '.join(unknown)} in vLLM; it can: {', '.join(MODELS)}"
        )
    multimodal, lora = model_config.multimodal_config, vllm_config.lora_config
    family = SERVED[model_config.hf_config.model_type]
    refusals = {
        "cudagraph_mm_encoder: graphs of the whole encoder do not know which patches belong "
        "together; ipcv has encoder_graphs": compilation.cudagraph_mm_encoder,
        "compile_mm_encoder: a block is compiled once, and here its attention differs from call "
        "to call": compilation.compile_mm_encoder,
        "mm_encoder_attn_backend FLASHINFER: it counts patches in units of its own": (
            multimodal.mm_encoder_attn_backend == AttentionBackendEnum.FLASHINFER
        ),
        f"mm_encoder_tp_mode data for {family.name}: it sends tiles of an image to several ranks": (
            family.tiles is not None and multimodal.mm_encoder_tp_mode == "data"
        ),
        "encoder_graphs and a sharded encoder: sums over ranks are not captured; take "
        "mm_encoder_tp_mode data": (
            settings.encoder_graphs
            and vllm_config.parallel_config.tensor_parallel_size > 1
            and multimodal.mm_encoder_tp_mode == "weights"
        ),
        "enable_tower_connector_lora: it counts the patches of every block beforehand": (
            lora is not None and lora.enable_tower_connector_lora
        ),
    }
    if settings.tokens is not None:
        refusals |= _refused_with_fewer_tokens(vllm_config, settings.tokens)
    for reason, is_asked in refusals.items():
        if is_asked:
            raise ValueError(f"ipcv cannot be combined with {reason}")
    return settings


def _is_draft(model_config: Any, speculative: Any) -> bool:
    """Whether it is of a model that guesses. For n-grams vLLM names the model itself."""
    if speculative is None or model_config is speculative.target_model_config:
        return False
    return model_config is speculative.draft_model_config


def _refused_with_fewer_tokens(vllm_config: Any, tokens: DivPrune) -> dict[str, bool]:
    """Reasons, and whether they hold."""
    model_config = vllm_config.model_config
    longest = model_config.max_model_len / (1 - tokens.reduction_ratio)
    known = _MROPE_LENGTHS * model_config.hf_text_config.max_position_embeddings
    multimodal = model_config.multimodal_config
    parallel, speculative = vllm_config.parallel_config, vllm_config.speculative_config
    graphs = vllm_config.compilation_config.cudagraph_mode
    return {
        "keep_tokens and video_pruning_rate: use one of the two": (
            multimodal.is_multimodal_pruning_enabled()
        ),
        "keep_tokens and pipeline_parallel_size: later stages do not learn the positions": (
            parallel.pipeline_parallel_size > 1
        ),
        "keep_tokens and enable_dbo: positions are per step": parallel.enable_dbo,
        f"keep_tokens and cudagraph_mode {graphs}: full graphs, also of single tokens, hold no "
        "positions of visual ones; take PIECEWISE": (
            graphs is not None and graphs.has_full_cudagraphs()
        ),
        f"keep_tokens and max_model_len {model_config.max_model_len}: prompts may have more "
        f"positions than the {known} that there are": (
            model_config.hf_config.model_type in ONE_DIMENSIONAL and longest > known
        ),
        "keep_tokens and a draft model: it does not learn the positions": (
            speculative is not None and speculative.method not in ("ngram", "suffix")
        ),
    }


class Guard(VerifyAndUpdateConfig):  # type: ignore[misc]
    """Checks a configuration, then does what vLLM does for that architecture."""

    stock: type[VerifyAndUpdateConfig] = VerifyAndUpdateConfig

    @classmethod
    def verify_and_update_config(cls, vllm_config: Any) -> None:
        """Called once per engine, before any worker starts."""
        if (settings := settings_of(vllm_config)) is not None:
            remember(vllm_config.model_config, vllm_config.additional_config[KEY])
            compilation = vllm_config.compilation_config
            if settings.tokens is not None:
                give_mrope(vllm_config.model_config.hf_config)
                if compilation.cudagraph_mode is None:
                    compilation.cudagraph_mode = CUDAGraphMode.PIECEWISE
            logger.info("IPCV configured: %s", settings)
        cls.stock.verify_and_update_config(vllm_config)

    @classmethod
    def verify_and_update_model_config(cls, model_config: Any) -> None:
        """Left to vLLM."""
        cls.stock.verify_and_update_model_config(model_config)


def guard_all() -> None:
    """Guard all architectures, so that none is served uncompressed that was asked for otherwise."""
    for architecture in ModelRegistry.get_supported_archs():
        stock = MODELS_CONFIG_MAP.get(architecture, VerifyAndUpdateConfig)
        if not issubclass(stock, Guard):
            MODELS_CONFIG_MAP[architecture] = type("Guard", (Guard,), {"stock": stock})
