import re
from collections import Counter, defaultdict

import numpy as np
import pytest

from ipcv.bench.scenes import COLOURS, Scene, SceneObject
from ipcv.bench.scenes.pictures import DRAWN, PICTURES, draw_picture
from ipcv.bench.scenes.questions import Question

NAMES = [name for name in PICTURES if name != DRAWN]
SIZES = [(448, 448), (224, 224), (672, 224), (224, 672), (336, 560)]
SEEDS = range(500, 524)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", SIZES)
def test_a_seed_gives_one_picture(name: str, size: tuple[int, int]) -> None:
    first, again, other = (draw_picture(name, seed, size) for seed in (7, 7, 8))
    assert first.image.size == size
    assert np.array_equal(first.image, again.image)
    assert (first.objects, first.questions) == (again.objects, again.questions)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", SIZES)
def test_nothing_leaves_the_picture_and_print_can_be_seen(name: str, size: tuple[int, int]) -> None:
    for seed in range(6):
        scene = draw_picture(name, seed, size)
        pixels = np.asarray(scene.image.convert("L"), dtype=float)
        for item in scene.objects:
            left, top, right, bottom = item.box
            assert 0 <= left < right <= size[0], item
            assert 0 <= top < bottom <= size[1], item
            if item.text:
                assert pixels[top:bottom, left:right].std() > 8, (seed, item)


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_is_asked_and_no_answer_is_the_usual_one(name: str) -> None:
    answers: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for seed in range(100):
        for question in draw_picture(name, seed).questions:
            answers[question.kind][question.answer] += 1
    assert set(answers) == set(PICTURES[name])
    for kind, counts in answers.items():
        yes_or_no = kind in ("photo-exists", "photo-relation")
        assert len(counts) >= (2 if yes_or_no else 4), kind
        assert max(counts.values()) < (0.7 if yes_or_no else 0.45) * counts.total(), kind


def middle(item: SceneObject, axis: int) -> float:
    return item.centre[axis]


def beside(item: SceneObject, others: list[SceneObject]) -> SceneObject:
    """The next thing to the right on the same line."""
    line = [o for o in others if abs(middle(o, 1) - middle(item, 1)) < 12]
    return min((o for o in line if o.box[0] >= item.box[2]), key=lambda o: o.box[0])


def page_answer(scene: Scene, question: Question) -> str:
    words = [o for o in scene.objects if o.kind == "word"]
    if question.kind == "page-title":
        return max(words, key=lambda o: o.font_size).text
    if question.kind == "page-after":
        named = question.text.rstrip("?").split()[-1]
        (item,) = (o for o in words if o.text == named)
        return beside(item, words).text
    row, column = (int(n) - 1 for n in re.findall(r"\d", question.text))
    numbers = [o for o in scene.objects if o.kind == "number"]
    lines: list[list[SceneObject]] = []
    for item in sorted(numbers, key=lambda o: middle(o, 1)):
        if not lines or middle(item, 1) - middle(lines[-1][0], 1) > 20:
            lines.append([])
        lines[-1].append(item)
    return sorted(lines[row], key=lambda o: o.box[0])[column].text


def has_cursor(pixels: np.ndarray, item: SceneObject) -> bool:
    """Whether white of an arrow with its tip near the middle covers these places."""
    x, y = (round(c) for c in item.centre)
    places = [(2, 8), (3, 12), (2, 16), (6, 14)]
    return any(
        all((pixels[y + j + b, x + i + a] == 245).all() for a, b in places)
        for i in range(-3, 7)
        for j in range(-3, 7)
    )


def screen_answer(scene: Scene, question: Question) -> str:
    pixels = np.asarray(scene.image)
    words = [o for o in scene.objects if o.kind == "word"]
    numbers = [o for o in scene.objects if o.kind == "number"]
    named = question.text.rstrip("?").split()[-1]
    if question.kind == "screen-title":
        return min(words, key=lambda o: o.box[1]).text
    if question.kind == "screen-icon":
        (item,) = (o for o in scene.objects if o.kind == "shape" and has_cursor(pixels, o))
        return item.shape
    if question.kind == "screen-field":
        (label,) = (o for o in words if o.text == named)
        return beside(label, numbers).text
    if question.kind == "screen-active":
        rows = (pixels == (30, 110, 240)).all(-1).sum(1)
        focus = np.flatnonzero(rows > 40).mean()
        return min((o for o in words if not o.colour), key=lambda o: abs(middle(o, 1) - focus)).text
    fill = (pixels == COLOURS[named]).all(-1)
    left = {o.text: fill[o.box[1] : o.box[3], o.box[0] - 6 : o.box[0] - 1].mean() for o in words}
    return max(left, key=left.__getitem__)


def chart_answer(scene: Scene, question: Question) -> str:
    named = question.text.rstrip("?").split()[-1]
    words = [o for o in scene.objects if o.kind == "word"]
    numbers = [o for o in scene.objects if o.kind == "number"]
    marks = [o for o in scene.objects if o.kind in ("bar", "shape")]
    upright = np.ptp([middle(o, 1) for o in words]) < 12
    axis = 0 if upright else 1

    def match(item: SceneObject, others: list[SceneObject]) -> SceneObject:
        return min(others, key=lambda o: abs(middle(o, axis) - middle(item, axis)))

    if question.kind == "chart-count":
        return str(len(words))
    if question.kind == "chart-extreme":
        pick = max if named == "largest" else min
        return match(pick(numbers, key=lambda o: int(o.text)), words).text
    (label,) = (o for o in words if o.text == named)
    if question.kind == "chart-value":
        return match(label, numbers).text
    mark = match(label, marks)
    x, y = (round(c) for c in mark.centre)
    (colour,) = (
        c for c, value in COLOURS.items() if (np.asarray(scene.image)[y, x] == value).all()
    )
    return colour


@pytest.mark.parametrize(
    ("name", "expected"),
    [("page", page_answer), ("screen", screen_answer), ("chart", chart_answer)],
)
def test_answers_can_be_seen(name: str, expected) -> None:
    """Answers every question again, from where things are and from pixels."""
    for seed in SEEDS:
        scene = draw_picture(name, seed)
        for question in scene.questions:
            assert question.answer == expected(scene, question), (seed, question)


def test_bars_are_as_long_as_their_values_say() -> None:
    seen = 0
    for seed in SEEDS:
        objects = draw_picture("chart", seed).objects
        bars = [o.box for o in objects if o.kind == "bar"]
        values = np.array([int(o.text) for o in objects if o.kind == "number"])
        if bars:
            seen += 1
            widths, heights = np.array([(box[2] - box[0], box[3] - box[1]) for box in bars]).T
            lengths = heights if len(set(widths)) == 1 else widths
            assert lengths == pytest.approx(values * lengths.max() / values.max(), abs=1.1)
    assert seen


def test_photos_have_less_contrast_and_jpeg_blocks() -> None:
    """Across the edges of 8 x 8 blocks, neighbours differ more than inside."""
    across, inside = [], []
    for seed in range(12):
        grey = np.asarray(draw_picture("photo", seed).image.convert("L"), dtype=float)
        step = np.abs(np.diff(grey, axis=1)).mean(0)
        across.append(step[7::8].mean())
        inside.append(np.delete(step, np.arange(7, len(step), 8)).mean())
    assert np.mean(across) > 1.05 * np.mean(inside)
