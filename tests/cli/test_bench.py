"""The measuring commands, as a user runs them."""

import csv
import json
import os
import shutil

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

import ipcv
from tests.cli.test_run import run
from tests.vision.adapters.families import build

OPTIONS = ("--device", "cpu")


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dinov2")
    build("dinov2").save_pretrained(folder)
    return folder


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(3):
        Image.linear_gradient("L").rotate(50 * i).convert("RGB").save(folder / f"{i}.png")
    return folder


def error_of(capsys, *arguments):
    assert run(*arguments) != 0
    (line,) = capsys.readouterr().err.splitlines()
    return line


def is_picture(path):
    with Image.open(path) as image:
        return image.width > 200


def test_bench(capsys, checkpoint, tmp_path):
    files = [tmp_path / name for name in ("a.json", "a.csv", "a.png")]
    outputs = ("--json", files[0], "--csv", files[1], "--plot", files[2])
    methods = ("--method", "ipcv+fastv", "--method", "tome", "--ratio", 0.5, "--size", 112)
    assert (
        run(
            "bench",
            checkpoint,
            *OPTIONS,
            "--language-model",
            "--repetitions",
            2,
            *methods,
            *outputs,
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert "speed-up" in printed
    assert "KV MB" in printed
    content = json.loads(files[0].read_text())
    names = ["uncompressed", "ipcv+fastv 0.5", "tome 0.5"]
    assert [row["variant"] for row in content["rows"]] == names
    assert content["environment"]["dtype"] == "float32"
    assert content["rows"][1]["kv_bytes"] < content["rows"][0]["kv_bytes"]
    with files[1].open(newline="") as file:
        assert [row["variant"] for row in csv.DictReader(file)] == names
    assert is_picture(files[2])


def test_bench_random_weights_of_a_checkpoint(capsys, checkpoint):
    options = (*OPTIONS, "--random-weights", "--dtype", "float32", "--repetitions", 2)
    method = ("--method", "ipcv", "--ratio", 0.5, "--size", 112)
    assert run("bench", checkpoint, *options, *method) == 0
    assert "64 patches" in capsys.readouterr().out


def test_bench_bad_input(capsys, tmp_path):
    assert "method must be one of" in error_of(capsys, "bench", "--method", "best")
    assert "ratio must be" in error_of(capsys, "bench", "--ratio", 1)
    assert "shape must be one of" in error_of(capsys, "bench", "--shape", "gpt", "--random-weights")
    assert "add --random-weights" in error_of(capsys, "bench", "--shape", "qwen2-vl-2b")
    both = ("bench", "somewhere", "--shape", "qwen2-vl-2b")
    assert "not both" in error_of(capsys, *both)
    assert "only a shape" in error_of(capsys, "bench", "--depth", 3)
    large = ("bench", "--shape", "qwen3-vl-8b", "--random-weights", "--language-model")
    assert "does not exist" in error_of(capsys, "bench", "--json", tmp_path / "no" / "a.json")
    assert "GiB" in error_of(capsys, *large, "--dtype", "float32", *OPTIONS)
    assert "needs both --url" in error_of(capsys, "bench", "--url", "http://127.0.0.1:9/v1")
    servers = ("--url", "http://127.0.0.1:9/v1", "--url-baseline", "http://127.0.0.1:9/v1")
    sizes = ("--size", 224, "--size", 448)
    assert "one --size" in error_of(capsys, "bench", *servers, *sizes)
    assert "--json go with it" in error_of(capsys, "bench", *servers, "--shape", "qwen2-vl-2b")
    assert "--picture is for servers" in error_of(capsys, "bench", "--picture", "page")
    assert "picture must be one of" in error_of(capsys, "bench", *servers, "--picture", "map")
    assert "at least 28 pixels" in error_of(capsys, "bench", "--size", 3)


def test_eval_images(capsys, encoder, images, tmp_path):
    files = [tmp_path / name for name in ("records.jsonl", "summary.json", "plot.png")]
    outputs = ("--records", files[0], "--json", files[1], "--plot", files[2])
    command = (
        "eval",
        encoder,
        *OPTIONS,
        "--images",
        images,
        "--size",
        32,
        "--ratio",
        0.5,
        *outputs,
    )
    (images / "broken.png").write_text("")
    assert run(*command) == 0
    printed = capsys.readouterr().out
    assert "worst of ipcv 0.5" in printed
    assert "skipped broken.png" in printed
    assert "1 of 4 images skipped" in printed
    summary = json.loads(files[1].read_text())
    assert set(summary["variants"]) == {"uncompressed", "ipcv 0.5", "tome 0.5", "downsample 0.5"}
    assert 0 < summary["variants"]["ipcv 0.5"]["cosine"][0] < 1
    assert list(summary["skipped"]) == ["broken.png"]
    assert len(summary["best_images"]["ipcv 0.5"]) == 3
    assert summary["best"]["time"] == 0.5
    assert is_picture(files[2])
    before = files[0].read_text()
    assert run(*command) == 0  # all there: nothing is run again
    assert files[0].read_text() == before
    other = ("eval", encoder, *OPTIONS, "--images", images, "--size", 36, "--records", files[0])
    assert "another run (side differ)" in error_of(capsys, *other)


def test_records_are_not_reused_for_something_else(capsys, encoder, images, tmp_path):
    folder, settings = tmp_path / "model", tmp_path / "ipcv.json"
    shutil.copytree(encoder, folder)
    ipcv.save(settings, ipcv.Preset(ipcv.IPCV(1, 0.5)))
    records = tmp_path / "records.jsonl"
    options = ("--images", images, "--size", 32, "--method", "ipcv", "--ratio", 0.5)
    command = ("eval", folder, *OPTIONS, *options, "--settings", settings, "--records", records)
    assert run(*command) == 0
    before = records.read_text()
    capsys.readouterr()
    assert "(config, dtype, weights differ)" in error_of(capsys, *command, "--dtype", "bfloat16")

    ipcv.save(settings, ipcv.Preset(ipcv.IPCV(1, 0.75)))
    assert "other settings by the name tuned" in error_of(capsys, *command)
    ipcv.save(settings, ipcv.Preset(ipcv.IPCV(1, 0.5)))

    picture = (images / "1.png").read_bytes()
    Image.new("RGB", (64, 64)).save(images / "1.png")
    assert "another image 1.png" in error_of(capsys, *command)
    (images / "1.png").write_bytes(picture)

    weights = load_file(folder / "model.safetensors")
    changed = {name: tensor * 1.1 for name, tensor in weights.items()}
    save_file(changed, folder / "model.safetensors", {"format": "pt"})
    assert "(weights differ)" in error_of(capsys, *command)
    assert records.read_text() == before


def test_eval_of_images_that_cannot_be_shown(capsys, encoder, tmp_path):
    folder, summary = tmp_path / "images", tmp_path / "summary.json"
    folder.mkdir()
    (folder / "a.png").write_text("")
    os.mkfifo(folder / "b.png")
    options = ("--images", folder, "--size", 32, "--method", "ipcv", "--ratio", 0.5)
    command = ("eval", encoder, *OPTIONS, *options, "--json", summary)
    assert "none of the images" in error_of(capsys, *command)
    assert not summary.exists()
    (folder / "[").mkdir()
    Image.linear_gradient("L").convert("RGB").save(folder / "[" / "b].png")
    assert run(*command) == 0
    printed = capsys.readouterr().out
    assert "worst of ipcv 0.5: [/b].png" in printed
    assert "nan" not in printed
    cosine = json.loads(summary.read_text(), parse_constant=pytest.fail)
    assert cosine["variants"]["ipcv 0.5"]["cosine"][1:] == [None, None]


def test_eval_suite(capsys, checkpoint, tmp_path):
    summary = tmp_path / "summary.json"
    options = ("--size", 224, "--questions", 7, "--method", "ipcv", "--ratio", 0.5)
    options += ("--json", summary)
    assert run("eval", checkpoint, *OPTIONS, *options) == 0
    printed = capsys.readouterr().out
    assert "of 7 held-out questions" in printed
    assert "best at 0.5 of the encoder time" in printed
    variants = json.loads(summary.read_text())["variants"]
    assert set(variants) == {"uncompressed", "ipcv 0.5"}
    assert 0 <= variants["ipcv 0.5"]["overall"][0] <= 1


def test_eval_suite_of_other_pictures(capsys, checkpoint, tmp_path):
    summary, records = tmp_path / "summary.json", tmp_path / "records.jsonl"
    size = ("--size", 224)
    options = (*size, "--questions", 9, "--picture", "drawn", "--picture", "page", "--time", 1)
    outputs = ("--records", records, "--json", summary)
    methods = ("--method", "downsample", "--method", "ipcv", "--ratio", 0.5)
    assert run("eval", checkpoint, *OPTIONS, *options, *methods, *outputs) == 0
    assert "page, by kind" in capsys.readouterr().out
    content = json.loads(summary.read_text())
    assert {"drawn", "page", "read", "page-title"} <= content["variants"]["uncompressed"].keys()
    assert content["variants"]["ipcv 0.5"]["rival"] == "downsample 0.5"
    assert content["best"]["time"] == 1
    assert {"all", "page", "page-after"} <= content["best"]["kinds"].keys()
    other = ("eval", checkpoint, *OPTIONS, *size, "--questions", 9, *methods, "--records", records)
    assert "another run (pictures differ)" in error_of(capsys, *other)


def test_eval_bad_input(capsys, encoder, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "is not a file" in error_of(capsys, "eval", "--records", tmp_path / "pipe")
    assert "not a file" in error_of(capsys, "eval", "--settings", tmp_path / "pipe")
    assert "is no setting" in error_of(capsys, "eval", "--set", "selector")
    assert "has no setting best" in error_of(capsys, "eval", "--set", "best=random")
    assert "what --ratio is for" in error_of(capsys, "eval", "--set", "reduction_ratio=0.5")
    (tmp_path / "pipe").unlink()
    assert "batch-size" in error_of(capsys, "eval", "--batch-size", 10**20)
    assert "questions" in error_of(capsys, "eval", "--questions", 10**20)
    assert "is not a folder" in error_of(capsys, "eval", "--images", tmp_path / "none")
    assert "holds no image" in error_of(capsys, "eval", "--images", tmp_path)
    assert "answers no questions" in error_of(capsys, "eval", encoder)
    assert "method must be one of" in error_of(capsys, "eval", "--method", "best")
    assert "picture must be one of drawn, page" in error_of(capsys, "eval", "--picture", "map")
    of_images = ("--images", tmp_path, "--picture", "page")
    assert "goes with the suite" in error_of(capsys, "eval", *of_images)
    assert "time must be above 0" in error_of(capsys, "eval", "--time", "nan")


def test_inspect(capsys, checkpoint, image, tmp_path):
    output = tmp_path / "out.png"
    options = ("--model", checkpoint, *OPTIONS, "--ratio", 0.5, "-o", output)
    assert run("inspect", image, *options, "--patch", "1,2") == 0
    assert is_picture(output)
    assert capsys.readouterr().err == f"wrote {output}\n"
    assert "two numbers" in error_of(capsys, "inspect", image, *options, "--patch", "a")
    assert "there is no patch" in error_of(capsys, "inspect", image, *options, "--patch", "90,1")
    assert "none is kept" in error_of(capsys, "inspect", image, *options, "--method", "tome")
    missing = ("inspect", tmp_path / "none.png", "-o", output)
    assert "does not exist" in error_of(capsys, *missing)
