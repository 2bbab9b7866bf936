"""Hard and easy questions, counted by hand."""

from ipcv.bench.quality.estimates import qualities
from ipcv.bench.quality.hard import split_questions
from ipcv.bench.quality.intervals import proportion
from ipcv.bench.quality.table import suite_summary, summary_tables

TIMES = {
    "uncompressed": 1.0,
    "ours 0.5": 0.5,
    "ours 0.8": 0.2,
    "downsample 0.4": 0.55,
    "downsample 0.8": 0.1,
}
RIGHT = {
    "uncompressed": [[1, 1, 1], [1, 1, 0]],
    "ours 0.5": [[1, 0, 1], [1, 0, 1]],
    "ours 0.8": [[0, 0, 0], [1, 0, 1]],
    "downsample 0.4": [[1, 1, 0], [1, 0, 0]],
    "downsample 0.8": [[0, 0, 0], [0, 0, 0]],
}
ROWS = [
    {
        "scene": scene,
        "variant": name,
        "kinds": ["read", "count", "exists"],
        "right": [bool(r) for r in right],
    }
    for name, scenes in RIGHT.items()
    for scene, right in enumerate(scenes)
]


def test_questions_are_split_by_the_downsampling_of_the_nearest_time() -> None:
    splits = split_questions(ROWS, TIMES)
    assert splits.keys() == {"ours 0.5", "ours 0.8"}
    # The uncompressed model answers five; downsampling keeps three of them, then none.
    first = splits["ours 0.5"]
    assert first.rival == "downsample 0.4"
    assert (first.hard, first.hard_questions) == (proportion(1, 2), 2)
    assert (first.easy, first.easy_questions) == (proportion(2, 3), 3)
    second = splits["ours 0.8"]
    assert second.rival == "downsample 0.8"
    assert (second.hard, second.hard_questions) == (proportion(1, 5), 5)
    assert (second.easy, second.easy_questions) == (None, 0)


def test_without_downsampling_there_is_no_split() -> None:
    rows = [row for row in ROWS if not row["variant"].startswith("down")]
    times = {row["variant"]: TIMES[row["variant"]] for row in rows}
    assert split_questions(rows, times) == {}


def test_the_summary_has_a_table_of_them() -> None:
    summary = suite_summary(ROWS, qualities(ROWS, "scene", "right", TIMES))
    assert summary["ours 0.5"]["hard"] == proportion(1, 2)
    assert "hard" not in summary["downsample 0.4"]
    titles = [table.title for table in summary_tables("right", summary)]
    assert titles == ["right", "by kind", "at equal encoder time"]
