from collections import Counter
from pathlib import Path
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import given

from ipcv.bench.tuning.split import split_images


@pytest.fixture
def folder(tmp_path):
    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make


def names(folder, paths):
    return [path.relative_to(folder).as_posix() for path in paths]


KINDS = {"photo": 9, "text": 6, "chart": 1}
NAMES = [f"{kind}/{i}.png" for kind, count in KINDS.items() for i in range(count)]


def test_halves_of_every_kind(folder):
    root = folder(*NAMES)
    split = split_images(root)
    assert sorted(names(root, split.calibration + split.held_out)) == sorted(NAMES)
    assert not set(split.calibration) & set(split.held_out)
    for part in split:
        counts = Counter(path.parent.name for path in part)
        assert all(abs(counts[kind] - count / 2) <= 0.5 for kind, count in KINDS.items())
    first = Counter(path.parent.name for path in split.calibration[:4])
    assert {first["photo"], first["text"]} <= {1, 2, 3}


@given(st.randoms(use_true_random=False))
def test_names_alone_decide(tmp_path_factory, rng: Random):
    order = rng.sample(NAMES, len(NAMES))
    splits = []
    for listed in (NAMES, order):
        root = tmp_path_factory.mktemp("images")
        for name in listed:
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).touch()
        splits.append([names(root, part) for part in split_images(root)])
    assert splits[0] == splits[1]


def test_folders_may_be_the_split(folder):
    calibration = [f"calibration/a/{i}.png" for i in range(4)]
    evaluation = [f"evaluation/{i}.png" for i in range(7)]
    root = folder(*calibration, *evaluation)
    split = split_images(root)
    assert sorted(names(root, split.calibration)) == calibration
    assert sorted(names(root, split.held_out)) == evaluation


def test_too_few(folder, tmp_path: Path):
    with pytest.raises(ValueError, match="holds no image"):
        split_images(tmp_path)
    root = folder(*(f"{i}.png" for i in range(7)))
    with pytest.raises(ValueError, match=r"4 to search on and 3 to judge by.*at least 4"):
        split_images(root)
    assert len(split_images(folder("7.png")).held_out) == 4
