"""An encoder in a worker of its own, and a store of encoder outputs that several servers share."""

from pathlib import Path
from typing import Any

import pytest

import ipcv
from tests.vllm.conftest import engine, on_model
from tests.vllm.scenes import cases, expected
from tests.vllm.test_offline import ask, tokens
from tests.vllm.test_shorter import LANGUAGE, SETTINGS

COUNT = 16  # of which the first ones are asked
ASKED = cases(COUNT)[:4]


def served(model: Path, store: Path, role: str, settings: dict[str, Any]) -> tuple[Any, int]:
    """Tokens of the answers, and how often the encoder ran."""
    transfer = {
        "ec_connector": "ECExampleConnector",
        "ec_role": role,
        "ec_connector_extra_config": {"shared_storage_path": str(store)},
    }
    calls: list[object] = []
    with engine(model, settings, ec_transfer_config=transfer) as llm:
        visual = on_model(llm, lambda model: model.visual)
        visual.register_forward_hook(lambda *call: calls.append(None))
        return tokens(ask(llm, ASKED)), len(calls)


@pytest.mark.parametrize(
    ("vision", "language", "settings"),
    [(ipcv.Adaptive(0.65), None, {}), (None, LANGUAGE, SETTINGS)],
    ids=["compressed", "shorter"],
)
def test_encoder_only_worker(
    padded: Path, tmp_path: Path, vision: Any, language: Any, settings: dict[str, Any]
) -> None:
    """It encodes for another server, which does not; one with other settings finds nothing."""
    assert served(padded, tmp_path, "ec_producer", settings)[1] > 0
    assert served(padded, tmp_path, "ec_consumer", settings) == (
        expected(COUNT, vision, language)[: len(ASKED)],
        0,
    )
    others = settings | {"method": "ipcv", "reduction_ratio": 0.5}
    assert served(padded, tmp_path, "ec_consumer", others)[1] > 0
