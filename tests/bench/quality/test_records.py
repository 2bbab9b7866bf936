"""Results on disk survive interruptions and are not mixed up."""

import contextlib
import json
import math
import os

import pytest

from ipcv.bench.quality.records import Records
from ipcv.core.output import check_writable, whole_file, write_csv, write_json

RUN = {"task": "suite", "model": "tiny"}


UNIT = {"scene": 0, "content": "picture"}
SETTINGS = {"a": "1", "b": "2", "c": "3"}


def row(variant, **changes):
    return {**UNIT, "variant": variant, "settings": SETTINGS[variant], **changes}


def test_a_run_goes_on_where_it_was_cut_off(tmp_path):
    path = tmp_path / "records.jsonl"
    first = Records(path, RUN)
    first.add(row("a"))
    first.add(row("b"))
    path.write_text(path.read_text() + '{"scene": 1, "vari')  # killed while writing
    second = Records(path, RUN)
    assert second.rows == first.rows
    assert second.missing(UNIT, SETTINGS) == ["c"]
    assert second.missing(UNIT | {"scene": 1}, SETTINGS) == ["a", "b", "c"]
    other = {"image": "x.png", "content": "1"}
    second.add({**other, "error": "broken"})
    assert second.missing(other, SETTINGS) == []
    assert len(Records(path, RUN).rows) == 3


def test_rows_of_an_earlier_version_stand_beside_those_of_this_one(tmp_path):
    path = tmp_path / "records.jsonl"
    first = Records(path, RUN)
    first.add(row("a", cosine=0.5))
    first.add(row("b", cosine=0.5, recall=1.0, segments=None))
    assert Records(path, RUN).missing(UNIT, SETTINGS) == ["c"]


def test_other_content_and_settings_of_the_same_name_are_refused(tmp_path):
    records = Records(tmp_path / "records.jsonl", RUN)
    records.add(row("a"))
    records.add({"image": "x.png", "content": "1", "error": "broken"})
    assert records.missing(UNIT, SETTINGS | {"b": "4"}) == ["b", "c"]
    with pytest.raises(ValueError, match=r"another scene 0: choose"):
        records.missing(UNIT | {"content": "other"}, SETTINGS)
    with pytest.raises(ValueError, match=r"other settings by the name a"):
        records.missing(UNIT, SETTINGS | {"a": "4"})
    with pytest.raises(ValueError, match=r"another image x\.png"):
        records.missing({"image": "x.png", "content": "2"}, SETTINGS)


def test_records_of_another_run_are_left_alone(tmp_path):
    path = tmp_path / "records.jsonl"
    Records(path, RUN).add(row("a"))
    before = path.read_text()
    with pytest.raises(ValueError, match=r"another run \(model differ\)"):
        Records(path, RUN | {"model": "other"})
    assert path.read_text() == before


@pytest.mark.parametrize(
    "text",
    [
        "hello\nworld\n",
        "3\n",
        "[]\n",
        "[" * 100_000 + "\n",
        json.dumps(RUN) + "\n3\n",
        json.dumps(RUN) + "\n[1]\n",
        json.dumps(RUN) + '\n{"variant": "a"}\n',
        json.dumps(RUN) + '\n{"scene": "0", "variant": "a"}\n',
        json.dumps(RUN) + '\n{"image": "0", "variant": "a", "error": "b"}\n',
        json.dumps(RUN) + '\n{"scene": true, "variant": "a"}\n',
        json.dumps(RUN) + '\n{"scene": 0, "variant": "a", "more": 1}\n',
        json.dumps(RUN) + '\n{"image": "0", "variant": "a", "cosine": "high"}\n',
        json.dumps(RUN) + '\n{"image": "0", "variant": "a", "cosine": NaN}\n',
        json.dumps(RUN) + '\n{"scene": 0, "variant": "a", "right": [1], "kinds": ["x"]}\n',
        json.dumps(RUN) + '\n{"scene": 0, "variant": "a", "right": [true], "kinds": []}\n',
        json.dumps(RUN) + '\n{"scene": 0, "variant": "a"}\n{"scene": 1, "variant": "a", "kl": 1}\n',
    ],
)
def test_what_is_no_file_of_records_is_left_alone(tmp_path, text):
    path = tmp_path / "records.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match="holds no records"):
        Records(path, RUN)
    assert path.read_text() == text


def test_rows_are_json(tmp_path):
    path = tmp_path / "records.jsonl"
    records = Records(path, RUN)
    records.add({"image": "a", "variant": "a", "cosine": math.nan, "kl": math.inf})
    assert records.rows == [{"image": "a", "variant": "a", "cosine": None, "kl": None}]
    assert Records(path, RUN).rows == records.rows


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
    write_json(path, {"a": [math.nan, (1.0, -math.inf)]})
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {"a": [None, [1.0, None]]}
    write_csv(tmp_path / "rows.csv", [{"a": 1, "b": "x,y"}])
    assert (tmp_path / "rows.csv").read_text() == 'a,b\n1,"x,y"\n'


def test_targets_are_checked_first(tmp_path):
    check_writable(None)
    check_writable(tmp_path / "new.json")
    with pytest.raises(ValueError, match="is a folder"):
        check_writable(tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        check_writable(tmp_path / "missing" / "new.json")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="not a file"):
        check_writable(tmp_path / "pipe")
