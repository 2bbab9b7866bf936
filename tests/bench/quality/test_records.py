"""Results on disk survive interruptions and are not mixed up."""

import contextlib
import os

import pytest

from ipcv.bench.quality.records import Records
from ipcv.core.output import check_writable, whole_file, write_csv, write_json

RUN = {"task": "suite", "model": "tiny"}


def test_a_run_goes_on_where_it_was_cut_off(tmp_path):
    path = tmp_path / "records.jsonl"
    first = Records(path, RUN)
    first.add({"scene": 0, "variant": "a"})
    first.add({"scene": 0, "variant": "b"})
    path.write_text(path.read_text() + '{"scene": 1, "vari')  # killed while writing
    second = Records(path, RUN)
    assert second.rows == first.rows
    assert second.missing("scene", 0, ["a", "b", "c"]) == ["c"]
    assert second.missing("scene", 1, ["a", "b"]) == ["a", "b"]
    second.add({"scene": 1, "variant": "a"})
    assert len(Records(path, RUN).rows) == 3


def test_records_of_another_run_are_left_alone(tmp_path):
    path = tmp_path / "records.jsonl"
    Records(path, RUN).add({"scene": 0})
    before = path.read_text()
    with pytest.raises(ValueError, match=r"another run \(model differ\)"):
        Records(path, RUN | {"model": "other"})
    assert path.read_text() == before
    path.write_text("hello\nworld\n")
    with pytest.raises(ValueError, match="holds no records"):
        Records(path, RUN)
    assert path.read_text() == "hello\nworld\n"


def test_memory_alone():
    records = Records(None, RUN)
    records.add({"scene": 0})
    assert records.rows == [{"scene": 0}]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_says_so(tmp_path):
    records = Records(None, RUN)
    records.path = type(tmp_path)("/dev/full")
    with pytest.raises(OSError, match="space"):
        records.add({"scene": 0})
    assert records.rows == []


def test_files_are_whole_or_not_there(tmp_path):
    path = tmp_path / "result.json"
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert list(tmp_path.iterdir()) == []
    write_json(path, {"a": 1})
    with contextlib.suppress(RuntimeError), whole_file(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == '{\n  "a": 1\n}\n'
    write_csv(tmp_path / "rows.csv", [{"a": 1, "b": "x,y"}])
    assert (tmp_path / "rows.csv").read_text() == 'a,b\n1,"x,y"\n'


def test_targets_are_checked_first(tmp_path):
    check_writable(None)
    check_writable(tmp_path / "new.json")
    with pytest.raises(ValueError, match="is a folder"):
        check_writable(tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        check_writable(tmp_path / "missing" / "new.json")
