"""Answers about clips, found again in their pixels."""

import random
from itertools import pairwise

import numpy as np
import pytest

from ipcv.bench.quality.suite import held_out_scenes
from ipcv.bench.scenes import COLOURS, HELD_OUT
from ipcv.bench.scenes.clips import CLIP_KINDS, LENGTHS, WAYS, compose_clip
from ipcv.bench.scenes.pictures import VIDEO, draw_picture

SIZE = (224, 224)
CLIPS = [
    compose_clip(random.Random(seed), SIZE, LENGTHS[0] + seed % (LENGTHS[1] - LENGTHS[0] + 1))
    for seed in range(60)
]


def asked(kind):
    """`(frames, question)` of all clips with such a question; frames as numbers."""
    return [
        (np.stack([np.asarray(frame, dtype=float) for frame in clip.frames]), question)
        for clip in CLIPS
        for question in clip.questions
        if question.kind == kind
    ]


def test_every_kind_is_asked():
    assert {q.kind for clip in CLIPS for q in clip.questions} == set(CLIP_KINDS)
    for clip in CLIPS:
        assert LENGTHS[0] <= len(clip.frames) <= LENGTHS[1]
        assert {frame.size for frame in clip.frames} == {SIZE}


def test_flashes_can_be_counted():
    for frames, question in asked("video-flash"):
        lamp = frames[:, 28, 28].sum(axis=1)
        lit = lamp > 400
        assert not lit[0]
        assert question.answer == str(sum(b and not a for a, b in pairwise(lit)))


def test_the_shape_moves_where_the_answer_says():
    for frames, question in asked("video-direction"):
        colour = np.array(COLOURS[question.text.split()[4]])
        near = np.abs(frames - colour).max(axis=-1) < 40
        changed = near & (near != near.all(axis=0))
        (y0, x0), (y1, x1) = (np.argwhere(changed[i]).mean(axis=0) for i in (0, -1))
        way = np.array([x1 - x0, y1 - y0])
        assert max(WAYS, key=lambda name: way @ WAYS[name]) == question.answer


def test_the_camera_moves_where_the_answer_says():
    for frames, question in asked("video-camera"):
        x, y = WAYS[question.answer]
        before, after = frames[0], frames[1]
        errors = {}
        for step in range(1, 60):
            for sign in (1, -1):
                dx, dy = sign * step * abs(x), sign * step * abs(y)
                rolled = np.roll(after, (dy, dx), axis=(0, 1))[60:-60, 60:-60]
                errors[sign * step] = np.abs(rolled - before[60:-60, 60:-60]).mean()
        assert min(errors, key=errors.get) * (x + y) > 0


def test_cuts_and_counters():
    for frames, question in asked("video-first"):
        cuts = [i for i, (a, b) in enumerate(pairwise(frames), 1) if not np.array_equal(a, b)]
        assert 1 <= len(cuts) <= 3
        assert min(np.diff([0, *cuts, len(frames)])) >= 2
        assert question.answer in question.text
    for frames, question in asked("video-last"):
        assert not np.array_equal(frames[-1], frames[-2])
        assert question.answer.isdigit()


@pytest.mark.parametrize("size", [(448, 224), (224, 336)])
def test_a_seed_gives_one_clip(size):
    first, again, other = (draw_picture(VIDEO, HELD_OUT + seed, size) for seed in (3, 3, 4))
    assert all(map(np.array_equal, first.frames, again.frames))
    assert first.questions == again.questions
    assert first.image.size == size
    assert not np.array_equal(first.image, other.image)


def test_the_suite_shows_all_frames():
    scenes = list(held_out_scenes(4, SIZE, (VIDEO,)))
    assert sum(len(scene.questions) for scene in scenes) == 4
    assert all(len(scene.frames) >= LENGTHS[0] for scene in scenes)
