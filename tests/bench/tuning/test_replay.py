"""What settings cost, by the calls of the encoder alone."""

import pytest
import torch
from PIL import Image

import ipcv
from ipcv.bench.cost.flops import count_flops
from ipcv.bench.quality.observe import observer
from ipcv.bench.quality.records import Records
from ipcv.bench.tuning.candidates import of_settings
from ipcv.bench.tuning.goals import Speedup
from ipcv.bench.tuning.replay import Replay
from ipcv.bench.tuning.trials import Trials
from ipcv.inputs.loading import load
from tests.vision.adapters.families import build

METHOD = ipcv.IPCV(1, 0.5, 1, 2)


@pytest.fixture
def images(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    paths[0].write_text("no image")
    for i, path in enumerate(paths[1:]):
        Image.linear_gradient("L").rotate(50 * i).convert("RGB").save(path)
    return paths


def test_flops_are_those_of_the_encoder(images):
    model = build("dinov2")
    replay = Replay(model, observer(model, None, side=32), images)
    assert len(replay.calls) == 3
    pixels = torch.randn(1, 3, 32, 32)

    def run():
        model(pixels, interpolate_pos_encoding=True)

    before = count_flops(run)
    with ipcv.compress(model, METHOD):
        after = count_flops(run)
    assert replay.flops(METHOD) == after / before
    assert set(replay.times({"a": METHOD, "b": ipcv.IPCV(1)})) == {"a", "b"}


def test_a_language_model_does_not_run_again(images, checkpoint):
    model, processor = load(checkpoint, device="cpu")
    replay = Replay(model, observer(model, processor, new_tokens=1), images)
    called = []
    model.get_decoder().register_forward_pre_hook(lambda *_: called.append(1))
    assert replay.flops(METHOD) < 1
    assert replay.times({"a": METHOD})["a"] > 0
    assert not called


def test_no_image_can_be_shown(images):
    model = build("dinov2")
    with pytest.raises(ValueError, match="no image can be shown"):
        Replay(model, observer(model, None, side=32), images[:1])


@pytest.mark.parametrize("speedup", [1.2, 1.5])
def test_a_budget_is_met_by_counted_flops(images, tmp_path, speedup):
    model = build("dinov2")
    observe = observer(model, None, side=32)
    replay = Replay(model, observe, images)
    trials = Trials(replay, tmp_path, [observe], Records(None, {}), "cosine", lambda: None)
    candidate = of_settings(METHOD)
    (value,) = Speedup(speedup).values([candidate], images, trials)
    ratio = next(row["ratio"] for row in trials.records.rows if "ratio" in row)
    assert replay.flops(candidate.at(ratio)) <= 1 / speedup
    assert replay.flops(candidate.at(ratio)) == pytest.approx(1 / speedup, abs=0.02)
    rows = [r for r in trials.records.rows if r.get("variant") == f"{candidate.name} {ratio}"]
    assert [row["image"] for row in rows] == [f"{i}.png" for i in range(1, 5)]
    assert value == pytest.approx(sum(row["cosine"] for row in rows) / 4)


def test_images_take_turns_with_prompts(images, tmp_path):
    shown = []

    def observing(prompt):
        real = observer(model, None, side=32)

        def observe(image, variant):
            shown.append(prompt)
            return real(image, variant)

        return observe

    model = build("dinov2")
    trials = Trials(
        None, tmp_path, [observing("a"), observing("b")], Records(None, {}), "cosine", lambda: None
    )
    assert set(trials.scores({"x": METHOD}, images[1:])) == {"x"}
    assert shown == ["a"] * 4 + ["b"] * 4  # two images each, uncompressed and compressed
    trials.scores({"x": METHOD}, images[1:])
    assert len(shown) == 8
