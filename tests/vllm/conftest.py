"""Only `make test-vllm` runs these: they need an environment of their own."""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

collect_ignore_glob = [] if find_spec("vllm") else ["test_*.py"]

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
}
OPTIONS: dict[str, Any] = {
    "dtype": "float32",
    "enforce_eager": True,
    "max_model_len": 2048,
    "max_num_seqs": 8,
    "limit_mm_per_prompt": {"image": 4, "video": 1},
    "disable_log_stats": True,
}


@contextmanager
def engine(model: Path, ipcv: dict[str, Any] | None = None, **options: Any) -> Iterator[Any]:
    """vLLM in this process, with IPCV if it has settings."""
    from vllm import LLM
    from vllm.distributed import cleanup_dist_env_and_memory

    additional = {} if ipcv is None else {"ipcv": ipcv}
    llm = LLM(str(model), additional_config=additional, **OPTIONS | options)
    try:
        yield llm
    finally:
        llm.llm_engine.engine_core.shutdown()
        del llm
        gc.collect()
        cleanup_dist_env_and_memory()


def on_model(llm: Any, function: Callable[[Any], Any]) -> Any:
    """What a function of the model returns."""
    (result,) = llm.apply_model(function)
    return result


@pytest.fixture(scope="session")
def padded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model with heads that vLLM's attention on a CPU takes."""
    from pad_tiny import pad

    return pad(tmp_path_factory.mktemp("tiny"))
