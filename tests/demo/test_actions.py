"""What the page shows is what the model and the engine do; no Gradio is needed for it."""

import threading
from base64 import b64encode
from pathlib import Path

import pytest
import torch
from PIL import Image

import ipcv
from ipcv.demo.actions import DEMO_PIXELS, Desk, error_map
from ipcv.demo.drawings import LONGEST_DRAWING, PREFIX, decoded
from ipcv.demo.links import PageState, from_query, to_query
from ipcv.demo.samples import draw_samples
from ipcv.demo.search import STEPS, cheapest
from ipcv.demo.sliders import Slider, methods_of, sliders
from ipcv.inputs.decoding import LEAST_PIXELS
from ipcv.inputs.loading import load
from ipcv.inputs.media import load_video
from ipcv.inputs.prompt import Media, build_inputs
from ipcv.settings.methods import VISION, make
from tests.inputs.test_media import png_header, save_video

QUESTION = "What is it?"
METHOD = ipcv.IPCV(prune_layer=2, reduction_ratio=0.5)


@pytest.fixture(scope="module")
def desk(checkpoint: Path) -> Desk:
    return Desk("tiny", *load(checkpoint, device="cpu"))


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr("ipcv.demo.actions.NEW_TOKENS", 2)
    monkeypatch.setattr("ipcv.demo.actions.TIMED_RUNS", 1)


def test_both_answers_and_pictures(desk, image):
    both = desk.compare(image, QUESTION, METHOD)
    measured, compared = both.report.rows()
    assert measured["patches kept"] == ["48 of 48", "24 of 48"]
    assert set(compared) == {"encoder speed-up", "bound by FLOPs", "cosine of visual tokens"}
    picture = Image.open(image).convert("RGB")
    inputs = build_inputs(desk.model, desk.processor, [Media((picture,))], QUESTION)
    sequences = desk.model.generate(**inputs, max_new_tokens=2, do_sample=False)
    new = sequences[0, inputs["input_ids"].shape[1] :]
    answer = desk.processor.decode(new, skip_special_tokens=True).strip()
    assert both.report.runs["uncompressed"].answer == answer
    with torch.no_grad():
        plain = desk.model.get_image_features(
            inputs["pixel_values"], inputs["image_grid_thw"]
        ).pooler_output[0]
        with ipcv.compress(desk.model, METHOD):
            rebuilt = desk.model.get_image_features(
                inputs["pixel_values"], inputs["image_grid_thw"]
            ).pooler_output[0]
    expected = (rebuilt - plain).norm(dim=-1).max() / plain.norm(dim=-1).mean()
    assert both.highest_error == pytest.approx(float(expected), rel=1e-4)
    assert both.overlay.size == both.errors.size == picture.size


def test_merged_patches_have_no_overlay(desk, image):
    both = desk.compare(image, QUESTION, VISION["tome"](0.1))
    assert both.overlay is None
    assert both.errors is not None


def test_a_clip_is_asked_as_its_frames(desk, tmp_path, monkeypatch):
    monkeypatch.setattr("ipcv.demo.actions.DEMO_PIXELS", 8 * 40 * 40)
    clip = save_video(tmp_path / "clip.mp4", 12)
    media, prompt = desk.prompt(clip, QUESTION)
    assert len(media.frames) == 8
    assert sum(frame.width * frame.height for frame in media.frames) <= 8 * 40 * 40
    both = desk.compare(clip, QUESTION, METHOD)
    patches = prompt["image_grid_thw"].prod(dim=1)
    kept = sum(int(n * 0.5) for n in patches.tolist())
    measured, _ = both.report.rows()
    assert measured["patches kept"][1] == f"{kept} of {patches.sum()}"
    frame = media.frames[0]
    assert both.overlay.size == both.errors.size == (4 * frame.width, 2 * frame.height)


def test_the_error_map_is_brightest_at_the_highest_error():
    frames = [Image.new("RGB", (4, 2))] * 2
    drawn, highest = error_map(frames, [torch.tensor([[0.0, 0.25]]), torch.tensor([[0.25, 0.5]])])
    assert highest == 0.5
    colours = [drawn.getpixel((x, 0)) for x in (0, 3, 4, 7)]
    assert colours[0] == (0, 34, 78)
    assert colours[1] == colours[2]
    assert colours[3] == (254, 232, 56)
    assert error_map(frames[:1], [torch.zeros(1, 2)])[1] == 0
    assert error_map(frames, []) == (None, 0.0)


def test_what_a_canvas_sends(image):
    sent = PREFIX + b64encode(image.read_bytes()).decode()
    assert decoded(sent) == image.read_bytes()


@pytest.mark.parametrize(
    "sent", [None, {}, "/etc/passwd", PREFIX + "A" * LONGEST_DRAWING, PREFIX + "?"]
)
def test_what_no_canvas_sends(sent):
    with pytest.raises(ValueError, match=r"too large, or none|base64"):
        decoded(sent)


def test_bad_input(desk, image, tmp_path):
    with pytest.raises(ValueError, match="question is empty"):
        desk.compare(image, " ", METHOD)
    (bad := tmp_path / "bad.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"^bad\.png is not an image"):  # and no folder
        desk.compare(bad, QUESTION, METHOD)
    with pytest.raises(ValueError, match="prune_layer"):
        desk.compare(image, QUESTION, ipcv.IPCV(prune_layer=99))
    assert not desk.lock.locked()


def test_large_pictures_are_scaled_down(desk, tmp_path, monkeypatch):
    monkeypatch.setattr("ipcv.demo.actions.DEMO_PIXELS", 112 * 112)
    Image.new("RGB", (448, 112)).save(tmp_path / "wide.png")
    media, _ = desk.prompt(tmp_path / "wide.png", QUESTION)
    assert media.frames[0].size == (224, 56)
    assert DEMO_PIXELS >= 448 * 448


def test_large_files_are_refused_before_they_are_decoded(desk, tmp_path, monkeypatch):
    def no_frame(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr("ipcv.demo.actions.CLIP_PIXELS", LEAST_PIXELS * 11)
    monkeypatch.setattr("ipcv.inputs.decoding._Decoding.sample", no_frame)
    clip = save_video(tmp_path / "clip.mp4", 12)
    with pytest.raises(ValueError, match=r"^video clip\.mp4 .* too long to decode"):
        desk.prompt(clip, QUESTION)
    bomb = png_header(tmp_path / "bomb.png", 9_999, 9_999)
    with pytest.raises(ValueError, match=r"^image bomb\.png .* 9,999 x 9,999 pixels are too many"):
        desk.prompt(bomb, QUESTION)


def test_one_at_a_time(desk, image):
    with desk.lock:
        asking = threading.Thread(target=desk.compare, args=(image, QUESTION, METHOD))
        asking.start()
        asking.join(0.2)
        assert asking.is_alive()
    asking.join(60)
    assert not asking.is_alive()


def test_the_cheapest_setting_gives_the_same_answer(desk, image, monkeypatch):
    monkeypatch.setattr("ipcv.demo.search.FRACTIONS", (0.75, 0.5))
    monkeypatch.setattr("ipcv.demo.search.VISION", {n: VISION[n] for n in ("ipcv", "adaptive")})
    steps = []
    found = cheapest(desk, image, QUESTION, lambda done, what: steps.append(done))
    assert found is not None
    both = desk.compare(image, QUESTION, found.setting)
    runs = both.report.runs
    assert runs["compressed"].answer == runs["uncompressed"].answer
    assert isinstance(found.setting, VISION[found.method])
    assert found.gflops < found.uncompressed_gflops
    assert steps == sorted(steps)
    assert steps[-1] < STEPS


@pytest.mark.parametrize(("same", "method"), [((0.5, 0.25), "ipcv"), ((0.25,), "ipcv"), ((), None)])
def test_a_search_goes_from_high_to_low(desk, image, monkeypatch, same, method):
    """With answers that are made up: the first fraction with the uncompressed one is taken."""
    monkeypatch.setattr("ipcv.demo.search.FRACTIONS", (0.75, 0.5, 0.25))
    monkeypatch.setattr("ipcv.demo.search.VISION", {"ipcv": VISION["ipcv"]})
    asked = []

    def ask(desk, prompt, variant):
        ratio = variant.vision.reduction_ratio if variant.vision else 0
        asked.append(ratio)
        return ("yes" if ratio in (0, *same) else "no"), 10 - ratio

    monkeypatch.setattr("ipcv.demo.search._ask", ask)
    found = cheapest(desk, image, QUESTION)
    assert (found and found.method) == method
    assert found is None or found.setting.reduction_ratio == max(same) == asked[-1]


def test_sliders_are_the_settings_that_are_numbers():
    by_name = {one.name: one for one in sliders(ipcv.Adaptive(0.5), depth=8)}
    assert by_name == {
        "reduction_ratio": Slider("reduction_ratio", 0, 0.99, 0.01, 0.5),
        "smooth_share": Slider("smooth_share", 0, 1, 0.01, 0.4),
        "tolerance": Slider("tolerance", 0, 1, 0.01, 1, is_optional=True),
    }
    assert by_name["tolerance"].read(1) is None
    assert by_name["tolerance"].read(0.2) == 0.2
    assert by_name["tolerance"].position(None) == 1
    assert by_name["tolerance"].label == "tolerance (1: none)"
    layer = next(one for one in sliders(METHOD, depth=8) if one.name == "prune_layer")
    assert (layer.lowest, layer.highest, layer.default, layer.read(3.0)) == (1, 8, 2, 3)


@pytest.mark.parametrize("end", ["lowest", "highest"])
@pytest.mark.parametrize("method", VISION)
def test_both_ends_of_every_slider_are_taken(method, end):
    found = methods_of({}, depth=8)[method]
    assert found
    settings = {one.name: one.read(getattr(one, end)) for one in found}
    assert make(VISION[method], settings).to_dict().items() >= settings.items()


def test_a_link_restores_what_it_was_made_of():
    known, default = methods_of({}, depth=8), PageState("Why?", "ipcv")
    state = PageState("What is 50 % & more?", "adaptive", {"reduction_ratio": 0.3})
    query = dict(pair.split("=") for pair in to_query(state).split("&"))
    assert query["reduction_ratio"] == "0.3"
    query["question"] = state.question
    restored = from_query(query, known, default)
    assert (restored.question, restored.method) == (state.question, "adaptive")
    assert restored.positions == {"reduction_ratio": 0.3, "smooth_share": 0.4, "tolerance": 1}


@pytest.mark.parametrize("ratio", ["7", "-1", "nan", "inf", "", "x" * 99, "1e999"])
def test_links_that_somebody_made_up(ratio):
    known, default = methods_of({}, depth=8), PageState("Why?", "ipcv")
    query = {"method": "__class__", "question": "a" * 9999, "reduction_ratio": ratio}
    state = from_query(query, known, default)
    assert state.method == "ipcv"
    assert len(state.question) == 500
    assert 0 <= state.positions["reduction_ratio"] < 1


def test_samples_are_of_all_kinds(tmp_path):
    samples = draw_samples(tmp_path)
    *pictures, (clip, about) = samples
    assert [path.name for path, _ in pictures] == [
        f"{kind}.png" for kind in ("drawn", "photo", "page", "screen", "chart")
    ]
    for path, question in pictures:
        assert question.endswith("?")
        with Image.open(path) as picture:
            assert picture.size == (448, 448)
    frames = load_video(clip, 99).frames
    assert about.endswith("?")
    assert len(frames) >= 4
    assert {frame.size for frame in frames} == {(224, 224)}
