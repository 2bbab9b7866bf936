"""What is compared, and what happens on the way through a folder."""

import math

import pytest
import torch
from PIL import Image

import ipcv
from ipcv.baselines import Downsample
from ipcv.bench.quality.fidelity import (
    Observation,
    compare,
    evaluate_images,
    find_images,
    patch_errors,
)
from ipcv.bench.quality.observe import crop, observer
from ipcv.bench.quality.records import Records
from ipcv.bench.variants import Variant
from ipcv.inputs.loading import load
from tests.vision.adapters.families import build

METHOD = ipcv.IPCV(prune_layer=1, reduction_ratio=0.6, stabilization_layers=1)
VARIANTS = {"uncompressed": Variant(), "ipcv 0.6": Variant(METHOD)}


def observation(tokens, grid=(2, 3), logits=None, answer=None):
    return Observation(tokens, grid, 1.0, logits, answer)


def test_tokens_are_compared_one_by_one():
    a, b = torch.randn(2, 6, 4)
    row = compare(observation(a), observation(b))
    cosines = [
        sum(x * y for x, y in zip(u, v, strict=True)) / math.hypot(*u) / math.hypot(*v)
        for u, v in zip(a.tolist(), b.tolist(), strict=True)
    ]
    assert row["cosine"] == pytest.approx(sum(cosines) / 6, abs=1e-6)
    difference, norm = (a - b).flatten().tolist(), b.flatten().tolist()
    assert row["relative_error"] == pytest.approx(math.hypot(*difference) / math.hypot(*norm))
    errors = patch_errors(observation(a), observation(b)).tolist()
    scale = sum(math.hypot(*v) for v in b.tolist()) / 6
    assert errors == pytest.approx(
        [math.dist(u, v) / scale for u, v in zip(a.tolist(), b.tolist(), strict=True)]
    )


def test_recall_and_segments_stand_beside_the_cosine():
    tokens = torch.randn(12, 4)
    moved = tokens.clone()
    moved[:3] = tokens[3:6]  # nearest to another, and that is all
    row = compare(observation(moved, (3, 4)), observation(tokens, (3, 4)))
    assert row["recall"] == 9 / 12
    assert 9 / 12 <= row["segments"] <= 1
    same = compare(observation(tokens), observation(tokens))
    assert (same["recall"], same["segments"]) == (1, 1)


def test_next_tokens_and_answers():
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.5, 0.3])
    tokens = torch.randn(6, 4)
    reference = observation(tokens, logits=p.log() + 7, answer="yes")
    row = compare(observation(tokens, logits=q.log(), answer="yes"), reference)
    expected = sum(x * math.log(x / y) for x, y in zip(p.tolist(), q.tolist(), strict=True))
    assert row["kl"] == pytest.approx(expected, abs=1e-6)
    assert (row["same_token"], row["same_answer"]) == (False, True)
    same = compare(reference, reference)
    assert same["kl"] == pytest.approx(0, abs=1e-6)
    assert (same["cosine"], same["relative_error"]) == (pytest.approx(1), 0)


def test_a_smaller_grid_is_interpolated():
    row, column = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")
    plane = torch.stack([row, column], -1)  # linear, so that halving and doubling only cuts edges
    half = plane.view(2, 2, 3, 2, 2).mean((1, 3))
    seen, reference = observation(half.view(-1, 2), (2, 3)), observation(plane.view(-1, 2), (4, 6))
    errors = patch_errors(seen, reference).view(4, 6)
    assert errors[1:-1, 1:-1].max() == pytest.approx(0, abs=1e-6)
    assert errors[0].min() > 0


def test_tokens_of_unknown_places_are_not_compared():
    seen, reference = observation(torch.randn(4, 2), None), observation(torch.randn(6, 2))
    assert compare(seen, reference)["cosine"] is None
    with pytest.raises(ValueError, match="other places"):
        patch_errors(seen, reference)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "kind").mkdir()
    for i, path in enumerate(("a.png", "kind/b.jpg", "kind/c.PNG")):
        Image.linear_gradient("L").rotate(40 * i).convert("RGB").save(tmp_path / path)
    (tmp_path / "broken.png").write_text("no image")
    (tmp_path / "notes.txt").write_text("no image either")
    return tmp_path


def test_a_broken_image_is_skipped_named_and_not_tried_again(folder):
    records, seen, steps = Records(None, {}), [], []
    observe = observer(build("dinov2"), None, side=32)

    def counting(image, variant):
        seen.append(variant)
        return observe(image, variant)

    evaluate_images(folder, VARIANTS, counting, records, lambda: steps.append(1))
    assert len(steps) == 4
    assert len(seen) == 6
    errors = [row for row in records.rows if "error" in row]
    assert [row["image"] for row in errors] == ["broken.png"]
    assert "not an image" in errors[0]["error"]
    rows = {(row["image"], row["variant"]) for row in records.rows if "error" not in row}
    assert rows == {(i, v) for i in ("a.png", "kind/b.jpg", "kind/c.PNG") for v in VARIANTS}
    evaluate_images(folder, VARIANTS, counting, records)
    assert len(seen) == 6


def test_folders(folder, tmp_path):
    assert [p.name for p in find_images(folder)] == ["a.png", "broken.png", "b.jpg", "c.PNG"]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="holds no image"):
        find_images(empty)
    with pytest.raises(ValueError, match="is not a folder"):
        find_images(folder / "a.png")


IMAGE = Image.radial_gradient("L").resize((64, 48)).convert("RGB")


def test_a_vision_encoder_sees_the_middle():
    model = build("dinov2")
    observe = observer(model, None, side=32)
    seen = observe(IMAGE, Variant())
    assert seen.grid == (8, 8)
    assert seen.tokens.shape == (64, 32)
    assert torch.equal(seen.tokens, observe(crop(model, IMAGE, 32), Variant()).tokens)
    shrunk = observe(IMAGE, Variant(downsample=Downsample(0.5)))
    assert shrunk.grid == (4, 4)
    assert compare(shrunk, seen)["cosine"] is not None
    assert not torch.equal(observe(IMAGE, Variant(METHOD)).tokens, seen.tokens)


def test_a_language_model_is_asked(checkpoint):
    model, processor = load(checkpoint, device="cpu")
    observe = observer(model, processor, "What?", new_tokens=2)
    seen = observe(IMAGE, Variant())
    assert seen.grid is not None
    assert len(seen.tokens) == seen.grid[0] * seen.grid[1]
    assert seen.logits.shape == (model.config.text_config.vocab_size,)
    assert compare(observe(IMAGE, Variant()), seen)["cosine"] == pytest.approx(1)
    assert compare(observe(IMAGE, Variant(METHOD)), seen)["kl"] > 0
