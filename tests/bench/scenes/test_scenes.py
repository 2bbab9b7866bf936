import numpy as np
import pytest

from ipcv.bench.quality.suite import answer_prior, held_out_scenes
from ipcv.bench.scenes import COLOURS, HELD_OUT, QUESTION_KINDS, draw_scene
from ipcv.bench.scenes.objects import overlaps
from ipcv.bench.scenes.pictures import draw_picture

SIZES = [(448, 448), (224, 224), (672, 224), (224, 672), (336, 560)]


@pytest.mark.parametrize("size", SIZES)
def test_a_seed_gives_one_scene(size: tuple[int, int]) -> None:
    first, again, other = (draw_scene(seed, size) for seed in (7, 7, 8))
    assert first.image.size == size
    assert np.array_equal(first.image, again.image)
    assert (first.objects, first.questions) == (again.objects, again.questions)
    assert not np.array_equal(first.image, other.image)


def test_nothing_overlaps_or_leaves_the_image() -> None:
    for seed in range(30):
        boxes = [item.box for item in draw_scene(seed).objects]
        for i, box in enumerate(boxes):
            assert 0 <= box[0] < box[2] <= 448
            assert 0 <= box[1] < box[3] <= 448
            assert not any(overlaps(box, other) for other in boxes[:i])


def test_answers_follow_from_the_objects() -> None:
    """Answers every question again, by reading its text."""
    seen = set()
    for seed in range(60):
        scene = draw_scene(seed)
        shapes = [item for item in scene.objects if item.kind == "shape"]
        where = {(item.colour, item.shape): item.centre for item in shapes}
        for question in scene.questions:
            words = question.text.rstrip("?").split()
            seen.add(question.kind)
            if question.kind == "read":
                expected = [i.text for i in scene.objects if i.kind == words[1]]
            elif question.kind == "colour":
                expected = [i.colour for i in shapes if i.shape == words[-1]]
            elif question.kind == "shape":
                expected = [i.shape for i in shapes if i.colour == words[-1]]
            elif question.kind == "count":
                noun = words[2]
                singular = noun[:-2] if noun == "crosses" else noun[:-1]
                matching = [i for i in shapes if noun in COLOURS and i.colour == noun]
                matching += [i for i in shapes if i.shape == singular]
                expected = [str(len(matching))]
            elif question.kind == "exists":
                expected = ["yes" if (words[-2], words[-1]) in where else "no"]
            else:
                a, b = where[words[2], words[3]], where[words[-2], words[-1]]
                axis = 1 if "above" in words else 0
                expected = ["yes" if a[axis] < b[axis] else "no"]
            assert [question.answer] == expected, question.text
    assert seen == set(QUESTION_KINDS)


def test_shapes_are_painted_in_their_colour() -> None:
    for seed in range(10):
        scene = draw_scene(seed)
        pixels = np.asarray(scene.image, dtype=int)
        for item in (item for item in scene.objects if item.kind == "shape"):
            left, top, right, bottom = item.box
            area = pixels[top:bottom, left:right].reshape(-1, 3)
            near = np.abs(area - COLOURS[item.colour]).max(axis=1) <= 16
            assert near.mean() > 0.15, (seed, item)


def test_pictures_take_turns() -> None:
    scenes = list(held_out_scenes(12, pictures=("drawn", "page")))
    assert [q.kind for s in scenes for q in s.questions] == [
        *QUESTION_KINDS, "page-title", "page-after", "page-cell", *QUESTION_KINDS[:3],
    ]  # fmt: skip
    for scene, name, seed in zip(scenes, ("drawn", "page", "drawn"), (0, 0, 1), strict=True):
        assert np.array_equal(scene.image, draw_picture(name, HELD_OUT + seed).image)


def test_held_out_scenes_are_held_out() -> None:
    scenes = list(held_out_scenes(20))
    assert sum(len(scene.questions) for scene in scenes) == 20
    assert np.array_equal(scenes[0].image, draw_scene(HELD_OUT).image)
    prior = answer_prior(q for s in scenes for q in s.questions)
    assert sum(asked for _, asked in prior.values()) == 20
    assert all(0 < right <= asked for right, asked in prior.values())
