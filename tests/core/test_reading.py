"""Text files that users name are read, or refused in a line; nothing hangs."""

import os

import pytest

from ipcv.core import reading
from ipcv.core.reading import read_text


def test_text(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    with pytest.raises(ValueError, match=r"a\.txt cannot be read: No such file"):
        read_text(path)
    path.write_text("ä\n", encoding="utf-8")
    assert read_text(path) == "ä\n"
    monkeypatch.setattr(reading, "TEXT_BYTES", 2)
    with pytest.raises(ValueError, match="too large"):
        read_text(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="no text in UTF-8"):
        read_text(path)


@pytest.mark.parametrize("path", ["pipe", "/dev/zero", "."])
def test_what_is_no_file(tmp_path, path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="not a file"):
        read_text(tmp_path / path)
