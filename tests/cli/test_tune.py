"""`ipcv tune`, and the commands that take what it writes."""

import json

import pytest
from PIL import Image

import ipcv
from ipcv.bench.tuning.replay import Replay
from ipcv.bench.tuning.split import split_images
from tests.cli.test_bench import error_of, is_picture
from tests.cli.test_run import run
from tests.vision.adapters.families import build

OPTIONS = ("--device", "cpu", "--trials", 2)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dinov2")
    build("dinov2").save_pretrained(folder)
    return folder


@pytest.fixture
def time_by_flops(monkeypatch):
    """Nothing is faster in models as small as these."""

    def times(replay, methods):
        return {name: replay.flops(method) for name, method in methods.items()}

    monkeypatch.setattr(Replay, "times", times)


@pytest.fixture
def images(tmp_path):
    for i in range(8):
        path = tmp_path / "images" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.linear_gradient("L").rotate(40 * i).convert("RGB").save(path)
    return tmp_path / "images"


@pytest.mark.usefixtures("time_by_flops")
@pytest.mark.parametrize("goal", [("--speedup", 1.2), ("--fidelity", 0.1)])
def test_tune(capsys, encoder, images, tmp_path, goal):
    output, records, plot = (tmp_path / name for name in ("ipcv.json", "records.jsonl", "a.png"))
    (images / "broken.png").write_text("")
    command = ("tune", encoder, *OPTIONS, "--images", images, "--size", 32, *goal)
    command += ("-o", output, "--records", records, "--plot", plot)
    assert run(*command) == 0
    printed = capsys.readouterr().out
    for text in ("had no part in the search", "tuned", "published", "downsample", "tome"):
        assert text in printed
    assert is_picture(plot)
    settings, evidence = ipcv.load(output), json.loads(output.read_text())["evidence"]
    assert settings.language is None
    assert evidence["model"] == str(encoder)
    assert evidence["environment"]["torch"]
    assert evidence["rivals"].keys() == {"published", "downsample", "tome", "tome-decreasing"}
    variants = evidence["held_out"]["variants"]
    assert variants.keys() > {"uncompressed", "published 0.5", "tuned 0.5"}
    assert evidence["score"] in [row["cosine"] for row in variants.values()]
    assert evidence["encoder_time"] in [row["time"] for row in variants.values()]
    rows = [json.loads(line) for line in records.read_text().splitlines()]
    judged = {row["image"] for row in rows if row.get("variant") == "downsample 0.5"}
    held_out = {path.relative_to(images).as_posix() for path in split_images(images).held_out}
    assert judged == held_out - {"broken.png"}
    before = records.read_text()
    assert run(*command) == 0  # all there: nothing is tried again
    assert records.read_text() == before
    assert ipcv.load(output) == settings


@pytest.mark.usefixtures("time_by_flops")
def test_prompts_for_a_language_model(checkpoint, images, tmp_path):
    output, prompts = tmp_path / "ipcv.json", tmp_path / "prompts.txt"
    prompts.write_text("What?\n\nWhere?\n")
    command = ("tune", checkpoint, *OPTIONS, "--images", images, "--speedup", 1.1)
    assert run(*command, "--prompts", prompts, "-o", output) == 0
    evidence = json.loads(output.read_text())["evidence"]
    assert evidence["prompts"] == ["What?", "Where?"]
    assert "next token" in evidence["held_out"]["label"]
    assert 0 < evidence["score"][0] <= 1


def test_bad_input(capsys, encoder, images, tmp_path):
    output = tmp_path / "ipcv.json"
    command = ("tune", encoder, *OPTIONS, "--size", 32, "-o", output, "--images")
    assert "is not a folder" in error_of(capsys, *command, tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "holds no image" in error_of(capsys, *command, tmp_path / "empty")
    assert "not both" in error_of(capsys, *command, images, "--speedup", 2, "--fidelity", 0.9)
    assert "above 1" in error_of(capsys, *command, images, "--speedup", 0.5)
    assert "must be a number in" in error_of(capsys, *command, images, "--fidelity", 1)
    missing = tmp_path / "none" / "a.json"
    assert "does not exist" in error_of(capsys, *command, images, "--plot", missing)
    assert "does not exist" in error_of(capsys, *command, images, "-o", missing)
    prompts = tmp_path / "prompts.txt"
    assert "cannot be read" in error_of(capsys, *command, images, "--prompts", prompts)
    prompts.write_text("\n")
    assert "holds no prompt" in error_of(capsys, *command, images, "--prompts", prompts)
    prompts.write_text("What?\n")
    assert "no language model" in error_of(capsys, *command, images, "--prompts", prompts)
    too_fast = error_of(capsys, *command, images, "--speedup", 50)
    assert "no setting makes the encoder 50 times as fast" in too_fast
    (images / "a" / "0.png").unlink()
    assert "where each needs at least 4" in error_of(capsys, *command, images)
    assert not output.exists()


@pytest.mark.usefixtures("time_by_flops")
def test_images_that_tell_nothing(capsys, encoder, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    command = ("tune", encoder, *OPTIONS, "--size", 32, "-o", tmp_path / "a.json")
    command += ("--images", folder)
    for i in range(8):
        (folder / f"{i}.png").write_text("")
    assert "no image can be shown" in error_of(capsys, *command)
    for i in range(8):
        Image.new("RGB", (1, 1)).save(folder / f"{i}.png")
    assert run(*command, "--speedup", 1.1) == 0


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "ipcv.json"
    ipcv.save(path, ipcv.Preset(ipcv.IPCV(1, 0.75, selector="uniform"), ipcv.FastV(1, 0.5)))
    return path


def test_run_takes_settings(capsys, checkpoint, image, settings):
    command = ("run", "--model", checkpoint, "--device", "cpu", "--max-new-tokens", 2, "--json")
    command += ("--no-compare", "--settings", settings)
    assert run(*command, image, "What?") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["vision"]["selector"], report["vision"]["reduction_ratio"]) == ("uniform", 0.75)
    assert report["language"]["method"] == "FastV"
    assert run(*command, "--reduction-ratio", 0.5, "--language", "random-drop", image, "What?") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["vision"]["selector"], report["vision"]["reduction_ratio"]) == ("uniform", 0.5)
    assert report["language"]["method"] == "RandomDrop"
    ipcv.save(settings, ipcv.Preset(ipcv.baselines.ToMe(0.1)))
    assert "ToMe has no setting" in error_of(
        capsys, *command, "--reduction-ratio", 0.5, image, "What?"
    )
    assert "nothing for settings" in error_of(capsys, *command, "--no-compress", image, "What?")
    settings.write_text("{")
    assert "are no JSON" in error_of(capsys, *command, image, "What?")


def test_bench_and_eval_take_settings(capsys, encoder, images, settings, tmp_path):
    ipcv.save(settings, ipcv.Preset(ipcv.IPCV(1, 0.75)))
    output = tmp_path / "out.json"
    options = ("--device", "cpu", "--method", "ipcv", "--ratio", 0.5, "--settings", settings)
    options += ("--json", output)
    assert run("bench", encoder, *options, "--repetitions", 2, "--size", 32) == 0
    rows = json.loads(output.read_text())["rows"]
    assert [row["variant"] for row in rows] == ["uncompressed", "ipcv 0.5", "tuned"]
    assert run("eval", encoder, *options, "--images", images, "--size", 32) == 0
    report = json.loads(output.read_text())
    assert report["variants"].keys() == {"uncompressed", "ipcv 0.5", "tuned"}
    assert report["at_equal_time"]["quality"].keys() == {"ipcv", "tuned"}
    for verb in ("bench", "eval"):
        assert "cannot be read" in error_of(capsys, verb, encoder, "--settings", tmp_path / "no")
