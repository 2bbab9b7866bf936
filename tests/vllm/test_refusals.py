"""What is refused before any worker starts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import save
from tests.vllm.checkpoints import save_for_vllm
from tests.vllm.test_families import FAMILIES, GLM

SHORTENED = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "internvl", *GLM)


def configured(model: Path, ipcv: object, **options: Any) -> Any:
    from vllm import EngineArgs

    additional = {} if ipcv is None else {"ipcv": ipcv}
    arguments = EngineArgs(str(model), additional_config=additional, **options)
    return arguments.create_engine_config()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratio": 0.5}, "IPCV has no setting ratio; it has prune_layer,"),
        ({"prune_layer": 2}, "Adaptive has no setting prune_layer; it has reduction_ratio,"),
        ({"reduction_ratio": 1}, r"reduction_ratio must be a number in \[0, 1\), got 1"),
        ({"method": "ipcv", "prune_layer": 8}, "prune_layer 8 is beyond the encoder's 8 blocks"),
        ({"method": "ipcv", "reduction_ratio": 0.99999}, "keeps no patch"),
        ({"method": "ipcv", "selector": "best"}, "selector must be one of"),
        ({"method": "ipcv", "scope": "batch"}, 'scope must be "item" in a server'),
        ({"attention": "xformers"}, "attention must be one of auto, sdpa, flash, full"),
        ({"encoder_graphs": 1}, "encoder_graphs must be true or false, got 1"),
        ({"keep_tokens": 0}, r"keep_tokens must be a number in \(0, 1\], got 0"),
        ([0.5], r"settings must be a JSON object, got \[0.5\]"),
    ],
)
def test_wrong_settings(padded: Path, settings: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        configured(padded, settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compilation_config": {"cudagraph_mm_encoder": True}}, "cudagraph_mm_encoder"),
        ({"compilation_config": {"compile_mm_encoder": True}}, "compile_mm_encoder"),
        ({"mm_encoder_attn_backend": "FLASHINFER"}, "FLASHINFER"),
        ({"enable_lora": True, "enable_tower_connector_lora": True}, "enable_tower_connector_lora"),
    ],
)
def test_wrong_combinations(padded: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"ipcv cannot be combined with .*{message}"):
        configured(padded, {}, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pipeline_parallel_size": 2}, "pipeline_parallel_size"),
        ({"compilation_config": {"cudagraph_mode": "FULL"}}, "cudagraph_mode FULL"),
        (
            {"compilation_config": {"cudagraph_mode": "FULL_AND_PIECEWISE"}},
            "cudagraph_mode FULL_AND_PIECEWISE",
        ),
    ],
)
def test_wrong_combinations_with_shorter_prompts(
    padded: Path, options: dict[str, Any], message: str
) -> None:
    configured(padded, {}, **options)
    with pytest.raises(ValueError, match=f"cannot be combined with keep_tokens and {message}"):
        configured(padded, {"keep_tokens": 0.5}, **options)


def test_a_sharded_encoder_is_not_captured(padded: Path) -> None:
    options = {"tensor_parallel_size": 2}
    configured(padded, {"encoder_graphs": True}, **options, mm_encoder_tp_mode="data")
    with pytest.raises(ValueError, match="cannot be combined with encoder_graphs and a sharded"):
        configured(padded, {"encoder_graphs": True}, **options)


@pytest.mark.parametrize("name", ["internvl", "gemma3", "llava_onevision", "smolvlm", "idefics3"])
def test_families_without_graphs(tmp_path: Path, name: str) -> None:
    save_for_vllm(name, tmp_path)
    with pytest.raises(ValueError, match="encodes batches of tiles"):
        configured(tmp_path, {"encoder_graphs": True})


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in SHORTENED])
def test_families_without_shorter_prompts(tmp_path: Path, name: str) -> None:
    save_for_vllm(name, tmp_path)
    with pytest.raises(ValueError, match="cannot drop visual tokens of "):
        configured(tmp_path, {"keep_tokens": 0.5})


SCALED = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}


@pytest.mark.parametrize("changes", [{"rope_parameters": SCALED}, {"model_type": "llama"}])
def test_language_models_without_gaps(tmp_path: Path, changes: dict[str, Any]) -> None:
    save_for_vllm("internvl", tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    config["text_config"] |= changes
    file.write_text(json.dumps(config))
    configured(tmp_path, {})
    with pytest.raises(ValueError, match="cannot drop visual tokens of InternVL"):
        configured(tmp_path, {"keep_tokens": 0.5})


def test_more_positions_than_there_are(tmp_path: Path) -> None:
    save_for_vllm("internvl", tmp_path)
    configured(tmp_path, {"keep_tokens": 0.25}, max_model_len=4096)
    with pytest.raises(ValueError, match="more positions than the 16384 that there are"):
        configured(tmp_path, {"keep_tokens": 0.2}, max_model_len=4096)


def test_tiles_of_one_image_on_several_ranks(tmp_path: Path) -> None:
    from ipcv.integrations.vllm.checks import settings_of

    save_for_vllm("internvl", tmp_path)
    config = configured(tmp_path, {}, mm_encoder_tp_mode="data")
    assert config.model_config.multimodal_config.mm_encoder_tp_mode == "weights"  # vLLM's choice
    config.model_config.multimodal_config.mm_encoder_tp_mode = "data"  # InternVLChatModel's
    with pytest.raises(ValueError, match="mm_encoder_tp_mode data for InternVL"):
        settings_of(config)


def test_other_models(tmp_path: Path) -> None:

    save("llava_next", tmp_path)
    with pytest.raises(ValueError, match="cannot compress a llava_next in vLLM; it can: qwen2_vl"):
        configured(tmp_path, {})


def test_registering_twice_guards_once() -> None:
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP

    from ipcv.integrations.vllm import register

    register()
    before = dict(MODELS_CONFIG_MAP)
    register()
    assert before == MODELS_CONFIG_MAP


STARTS = """
from vllm import LLM
LLM({model!r}, additional_config={{"ipcv": {{}}}}, dtype="float32", enforce_eager=True,
    max_model_len=512, worker_extension_cls="ipcv.integrations.vllm.worker.Compressing")
"""


@pytest.mark.slow
def test_workers_of_ipcv_serve_compress_whatever_plugins_they_load(padded: Path) -> None:
    """Here none: without the extension this model would be served as it is."""
    environment = {**os.environ, "VLLM_PLUGINS": "", "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    command = [sys.executable, "-c", STARTS.format(model=str(padded))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "IPCV active: Adaptive(" in done.stdout + done.stderr
