import json
from pathlib import Path

import pytest
from PIL import Image

from ipcv.bench.run_report import conclusion
from ipcv.cli import main
from ipcv.inputs.prompt import EXAMPLE_QUESTION
from ipcv.models import EXAMPLE
from tests.inputs.test_media import save_video

QUESTION = "What is it?"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code or 0  # type: ignore[return-value]


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert run("run", *arguments) != 0
    error = capsys.readouterr().err
    (line,) = error.splitlines()
    assert line.startswith("ipcv: ")
    return line


def test_without_a_command_there_is_help_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() != 0
    captured = capsys.readouterr()
    assert "Usage: " in captured.out
    assert captured.err == ""


@pytest.fixture
def options(checkpoint: Path) -> list[object]:
    return ["--model", checkpoint, "--device", "cpu", "--max-new-tokens", 2]


def report(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, object]:
    assert run("run", "--json", *arguments) == 0
    result: dict[str, object] = json.loads(capsys.readouterr().out)
    return result


def test_compare_is_the_default(
    capsys: pytest.CaptureFixture[str], options: list[object], image: Path
) -> None:
    result = report(capsys, *options, image, QUESTION)
    assert result["compressed"]["patches_kept"] == 17  # type: ignore[index]
    assert result["uncompressed"]["patches_kept"] == result["uncompressed"]["patches"] == 48  # type: ignore[index]
    assert 0 < result["visual_token_cosine"] < 1  # type: ignore[operator]
    assert result["encoder_flops_ratio"] > 1  # type: ignore[operator]


def test_table_shows_both(
    capsys: pytest.CaptureFixture[str], options: list[object], image: Path
) -> None:
    assert run("run", *options, image, QUESTION) == 0
    output = capsys.readouterr().out
    for text in (
        "uncompressed",
        "compressed",
        "17 of 48",
        "encoder speed-up",
        "KV cache MB",
        "Adaptive(",
    ):
        assert text in output


def test_without_a_question_it_says_what_it_asks_about(
    capsys: pytest.CaptureFixture[str], options: list[object]
) -> None:
    assert run("run", *options, "--no-compare", "--json") == 0
    captured = capsys.readouterr()
    assert captured.err == f'asking about {EXAMPLE}; for yours: ipcv run photo.jpg "What is it?"\n'
    assert json.loads(captured.out)["question"] == EXAMPLE_QUESTION


def test_the_conclusion_names_the_bound(
    capsys: pytest.CaptureFixture[str], options: list[object], image: Path
) -> None:
    result = report(capsys, *options, image, QUESTION)
    bound = f"the FLOPs would allow {result['encoder_flops_ratio']:.1f}x"
    assert str(result["conclusion"]).endswith(bound)
    assert "conclusion" not in report(capsys, *options, "--no-compare", image, QUESTION)


@pytest.mark.parametrize(
    ("answer", "speedup", "said"),
    [
        ("a", 1.83, "same answer, encoder 1.8x faster; at this size the FLOPs would allow 2.5x"),
        ("b", 0.9, "another answer, encoder no faster; at this size the FLOPs would allow 2.5x"),
    ],
)
def test_what_to_conclude(answer: str, speedup: float, said: str) -> None:
    runs = {"uncompressed": {"answer": "a"}, "compressed": {"answer": answer}}
    assert conclusion(runs | {"encoder_speedup": speedup, "encoder_flops_ratio": 2.5}) == said


def test_ratio_zero_changes_nothing(
    capsys: pytest.CaptureFixture[str], options: list[object], image: Path
) -> None:
    result = report(capsys, *options, "--reduction-ratio", 0, image, QUESTION)
    assert "same answer" in str(result["conclusion"])
    assert result["visual_token_cosine"] == pytest.approx(1, abs=1e-6)
    assert result["compressed"]["answer"] == result["uncompressed"]["answer"]  # type: ignore[index]


def test_language_side(
    capsys: pytest.CaptureFixture[str], options: list[object], image: Path
) -> None:
    dart = ["--language", "dart", "--language-option", "reduction_ratio=0.9"]
    result = report(capsys, *options, *dart, image, QUESTION)
    before, after = result["uncompressed"], result["compressed"]
    assert after["llm_tokens"] < before["llm_tokens"]  # type: ignore[index]
    assert after["kv_megabytes"] < before["kv_megabytes"]  # type: ignore[index]
    assert result["language"]["reduction_ratio"] == 0.9  # type: ignore[index]
    for name in ("fastv", "v2drop", "random-drop", "visionzip", "cdpruner"):
        result = report(capsys, *options, "--no-compare", "--language", name, image, QUESTION)
        assert result["compressed"]["llm_tokens"] < before["llm_tokens"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("flag", "names"), [("--no-compress", {"uncompressed"}), ("--no-compare", {"compressed"})]
)
def test_one_side_alone(
    capsys: pytest.CaptureFixture[str],
    options: list[object],
    image: Path,
    flag: str,
    names: set[str],
) -> None:
    result = report(capsys, *options, flag, image, QUESTION)
    assert result.keys() & {"compressed", "uncompressed"} == names


def test_several_images_and_a_video_with_overlay(
    capsys: pytest.CaptureFixture[str], options: list[object], image: Path, tmp_path: Path
) -> None:
    video, overlay = save_video(tmp_path / "video.mp4", 3), tmp_path / "overlay.png"
    report(capsys, *options, "--save-overlay", overlay, image, video, QUESTION)
    width = 112 + 3 * 64  # the image and the three frames, each at its own size
    with Image.open(overlay) as sheet:
        assert sheet.size == (width, 84)


def test_one_pixel_image(
    capsys: pytest.CaptureFixture[str], options: list[object], tmp_path: Path
) -> None:
    path = tmp_path / "pixel.png"
    Image.new("RGB", (1, 1)).save(path)
    assert report(capsys, *options, path, QUESTION)["compressed"]["patches_kept"] >= 1  # type: ignore[index]


def test_very_long_image(
    capsys: pytest.CaptureFixture[str], options: list[object], tmp_path: Path
) -> None:
    path = tmp_path / "long.png"
    Image.new("RGB", (10_000, 20)).save(path)
    assert "aspect ratio" in error_of(capsys, *options, path, QUESTION)


def test_bad_input_is_one_line(
    capsys: pytest.CaptureFixture[str], options: list[object], image: Path, tmp_path: Path
) -> None:
    assert "does not exist" in error_of(capsys, tmp_path / "none.png", QUESTION)
    assert "question is empty" in error_of(capsys, image, "  ")
    assert "question is missing" in error_of(capsys, image)
    assert "then the question" in error_of(capsys, QUESTION)
    assert "prune_layer" in error_of(capsys, "--set", "prune_layer=0", image, QUESTION)
    assert "reduction_ratio" in error_of(capsys, "--reduction-ratio", 1, image, QUESTION)
    assert "scope" in error_of(capsys, "--set", "scope=frame", image, QUESTION)
    assert "beyond" in error_of(
        capsys, *options, "--method", "ipcv", "--set", "prune_layer=4", image, QUESTION
    )
    assert "neither a folder" in error_of(capsys, "--model", tmp_path / "none", image, QUESTION)
    assert "unknown method" in error_of(capsys, "--language", "x", image, QUESTION)
    assert "needs a method" in error_of(capsys, "--language-option", "a=1", image, QUESTION)
    fastv = ("--language", "fastv", "--language-option")
    assert "no setting a" in error_of(capsys, *fastv, "a=1", image, QUESTION)
    assert "write it like" in error_of(capsys, *fastv, "prune_layer", image, QUESTION)
    assert "unknown method 'x'" in error_of(capsys, "--method", "x", image, QUESTION)
    twice = ("--reduction-ratio", 0.5, "--set", "reduction_ratio=0.6")
    assert "given twice" in error_of(capsys, *twice, image, QUESTION)
    tome = ("--method", "tome", "--set", "prune_layer=2")
    assert "ToMe has no setting prune_layer" in error_of(capsys, *tome, image, QUESTION)
    assert "is a file" in error_of(capsys, image, image)
    nothing = ("--no-compress", "--set", "prune_layer=2")
    assert "nothing for settings" in error_of(capsys, *nothing, image, QUESTION)
    assert "cannot be used" in error_of(capsys, "--device", "meta", image, QUESTION)
    assert "No such option" in error_of(capsys, "--nonsense")


def test_overlay_target_is_checked_first(
    capsys: pytest.CaptureFixture[str], image: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "missing" / "overlay.png"
    assert "does not exist" in error_of(capsys, "--save-overlay", missing, image, QUESTION)
    untyped = tmp_path / "overlay"
    assert "extension" in error_of(capsys, "--save-overlay", untyped, image, QUESTION)
    assert "is a folder" in error_of(capsys, "--save-overlay", tmp_path, image, QUESTION)
    read_only = tmp_path / "overlay.psd"
    assert "extension" in error_of(capsys, "--save-overlay", read_only, image, QUESTION)
    assert not missing.parent.exists()
    assert not untyped.exists()


def test_version_and_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("version") == 0
    assert "torch 2" in capsys.readouterr().out
    assert run("models") == 0
    assert "Qwen2-VL" in capsys.readouterr().out
