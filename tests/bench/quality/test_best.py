"""The best method of each kind, against hand-made numbers."""

import numpy as np

from ipcv.bench.quality.best import best_at
from ipcv.bench.quality.estimates import Quality, qualities
from ipcv.bench.quality.intervals import mean
from ipcv.bench.quality.kinds import image_kinds, question_groups, question_kinds

UNITS = 40
NOISE = np.random.default_rng(0).normal(0, 0.05, (3, UNITS))


def quality(scores: np.ndarray, time: float) -> Quality:
    return Quality(scores, np.ones(UNITS), time)


UNCOMPRESSED = quality(np.ones(UNITS), 1.0)
CLEAR = {
    "uncompressed": UNCOMPRESSED,
    "a 0.5": quality(0.9 + NOISE[0], 0.4),
    "b 0.5": quality(0.8 + NOISE[1], 0.4),
    "c 0.5": quality(0.85 + NOISE[2], 0.4),
}


def test_the_highest_is_named_with_its_gain_over_the_next() -> None:
    (best,) = best_at({"photo": CLEAR}, 0.7).values()
    assert (best.method, best.rival, best.decided) == ("a", "c", True)
    half = (CLEAR["a 0.5"].scores + 1) / 2, (CLEAR["c 0.5"].scores + 1) / 2  # half-way to 1.0
    assert best.quality == best.qualities["a"] == mean(half[0].tolist())
    assert best.qualities["c"] == mean(half[1].tolist())
    assert best.gain == mean((half[0] - half[1]).tolist())


def test_what_is_not_clear_of_every_other_is_undecided() -> None:
    close = CLEAR | {"c 0.5": quality(CLEAR["a 0.5"].scores - 0.001 + NOISE[2], 0.4)}
    (best,) = best_at({"photo": close}, 0.4).values()
    assert {best.method, best.rival} == {"a", "c"}
    assert not best.decided


def test_a_method_alone_or_a_single_unit_decides_nothing() -> None:
    alone = {name: CLEAR[name] for name in ("uncompressed", "a 0.5")}
    (best,) = best_at({"photo": alone}, 0.4).values()
    assert (best.method, best.gain, best.decided) == ("a", None, False)
    single = {name: Quality(q.scores[:1], q.weights[:1], q.time) for name, q in CLEAR.items()}
    assert not best_at({"photo": single}, 0.4)["photo"].decided


def test_methods_that_are_not_so_fast_do_not_count() -> None:
    assert best_at({"photo": CLEAR}, 0.3) == {}
    late = CLEAR | {"a 0.5": quality(CLEAR["a 0.5"].scores, 0.6)}
    assert best_at({"photo": late}, 0.5)["photo"].method == "c"


ROWS = [
    {"scene": 0, "variant": "x", "kinds": ["read", "count"], "right": [True, False]},
    {"scene": 1, "variant": "x", "kinds": ["page-title", "page-cell"], "right": [True, True]},
]


def test_questions_by_kind_and_by_picture() -> None:
    assert list(question_groups(["read", "count"])) == ["read", "count"]
    parts = question_kinds(ROWS)
    assert list(parts) == ["drawn", "page", "read", "count", "page-title", "page-cell"]
    found = {
        kind: qualities(part, "scene", "right", {"x": 1.0})["x"].estimate.mean
        for kind, part in parts.items()
    }
    assert found == {
        "drawn": 0.5, "page": 1, "read": 1, "count": 0, "page-title": 1, "page-cell": 1,
    }  # fmt: skip


def test_images_by_folder() -> None:
    rows = [{"image": name} for name in ("b/1.png", "a.png", "a/2.png", "b/3.png")]
    assert image_kinds(rows) == {"a": [rows[2]], "b": [rows[0], rows[3]]}
    assert image_kinds(rows[1:2]) == {}
