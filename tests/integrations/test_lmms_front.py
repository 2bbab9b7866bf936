import sys
from pathlib import Path

import pytest

from ipcv.integrations.lmms_eval.front import run


@pytest.fixture(autouse=True)
def without_lmms_eval(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lmms_eval", "lmms_eval.__main__"):
        monkeypatch.setitem(sys.modules, name, None)


def test_without_lmms_eval() -> None:
    with pytest.raises(ImportError, match=r"pip install 'ipcv\[lmms-eval\]'"):
        run(["gqa"], "a/b", {})


def test_bad_settings_come_first(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown setting"):
        run(["gqa"], "a/b", {"ratio": 0.5})
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        run(["gqa"], "a/b", {}, output=tmp_path / "file" / "folder")
    with pytest.raises(ValueError, match="comma"):
        run(["gqa"], "a,b", {})
