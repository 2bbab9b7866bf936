import sys
from pathlib import Path

import pytest

from ipcv.integrations.lmms_eval.front import run


def test_without_lmms_eval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lmms_eval", None)
    with pytest.raises(ImportError, match=r"pip install 'ipcv\[lmms-eval\]'"):
        run(["gqa"], "a/b", {})


def test_bad_settings_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "lmms_eval", None)
    with pytest.raises(ValueError, match="unknown setting"):
        run(["gqa"], "a/b", {"ratio": 0.5})
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        run(["gqa"], "a/b", {}, output=tmp_path / "file" / "folder")
    with pytest.raises(ValueError, match="comma"):
        run(["gqa"], "a,b", {})
