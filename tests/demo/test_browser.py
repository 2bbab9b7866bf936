"""The page in a browser, as people use it: `make test-demo`."""

from pathlib import Path

import pytest

pytest.importorskip("gradio")
sync_api = pytest.importorskip("playwright.sync_api")

from ipcv.demo.actions import Desk  # noqa: E402
from ipcv.demo.server import opened  # noqa: E402
from ipcv.inputs.loading import load  # noqa: E402
from ipcv.models import EXAMPLE, TINY  # noqa: E402

CHROMIUM = Path("/usr/bin/chromium")
MOST_WAIT = 30_000
SPEEDUP = "encoder speed-up"

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium")


@pytest.fixture(scope="module")
def address():
    with opened(Desk("tiny", *load(str(TINY), device="cpu"))) as page:
        yield page.launch("127.0.0.1", None)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, address):
    """Opens the page for another visitor, who has no network but it."""
    contexts = []

    def opens(query="", **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(MOST_WAIT)
        page.foreign = []
        page.on("request", lambda request: page.foreign.append(request.url))
        page.goto(address + query)
        page.get_by_role("button", name="Ask", exact=True).wait_for()
        return page

    yield opens
    for context in contexts:
        context.close()


def upload(page, path):
    page.get_by_role("button", name="Remove Image").click()
    page.locator("input[type=file]").first.set_input_files(path)


def ask(page):
    page.get_by_role("button", name="Ask", exact=True).click()


def row(page, label):
    cells = page.locator(".result tr", has=page.get_by_text(label, exact=True)).locator("td")
    cells.first.wait_for()
    return cells.all_inner_texts()[1:]


def test_upload_and_ask(visit, address):
    page = visit()
    upload(page, EXAMPLE)
    page.get_by_label("Question").fill("What number is written?")
    ask(page)
    assert row(page, "answer") == ["880", "880"]
    sizes = "all => all.map(image => [image.naturalWidth, image.naturalHeight])"
    drawn = page.locator(".drawn img")
    drawn.nth(1).wait_for()
    assert drawn.evaluate_all(sizes) == [[448, 448]] * 2
    here = [url for url in page.foreign if not url.startswith((address, "data:", "blob:"))]
    assert here == []


def draw(page, *points):
    """A line through points, counted from the canvas's upper left corner."""
    canvas = page.locator("canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    (x, y), *others = [(box["x"] + x, box["y"] + y) for x, y in points]
    page.mouse.move(x, y)
    page.mouse.down()
    for x, y in others:
        page.mouse.move(x, y, steps=5)
    page.mouse.up()


def test_a_drawing(visit):
    page = visit()
    page.get_by_label("Drawing", exact=True).check()
    page.locator("canvas").wait_for()
    draw(page, (80, 80), (240, 80), (160, 240), (80, 80))
    page.get_by_label("Question").fill("Which shape is in the picture?")
    ask(page)
    assert row(page, "patches kept")[0] == "1,024 of 1,024"
    page.get_by_role("button", name="Clear", exact=True).click()
    ask(page)
    page.get_by_text("there is no drawing").first.wait_for()


def test_a_clip(visit):
    page = visit()
    page.get_by_role("button", name="clip", exact=True).click()
    page.locator("video").wait_for()
    ask(page)
    kept = row(page, "patches kept")[0]
    assert int(kept.split()[0].replace(",", "")) % 256 == 0  # of frames of 16 x 16 patches


def test_a_slider_and_its_link(visit):
    page = visit()
    page.get_by_label("number input for reduction ratio").first.fill("0.8")
    page.get_by_label("number input for reduction ratio").first.press("Tab")
    ask(page)
    kept = row(page, "patches kept")
    assert kept[0] == "1,024 of 1,024"
    assert int(kept[1].split()[0]) <= 0.2 * 1024 + 3  # each of its steps rounds
    link = page.get_by_role("link", name="Link to this question").get_attribute("href")
    again = visit(link.lstrip("/"))
    restored = again.get_by_label("number input for reduction ratio").first
    sync_api.expect(restored).to_have_value("0.8", timeout=MOST_WAIT)


def test_a_bad_file_behind_an_example(visit, tmp_path):
    (bad := tmp_path / "notes.png").write_text("no picture")
    page = visit()
    question = page.get_by_label("Question")
    before = question.input_value()
    page.get_by_role("button", name="chart", exact=True).click()
    sync_api.expect(question).not_to_have_value(before)
    upload(page, bad)
    page.wait_for_timeout(1000)
    ask(page)
    page.get_by_text("notes.png is not an image").first.wait_for()
    assert page.locator(".result table").count() == 0


def test_a_large_file(visit, address):
    page = visit()
    large = {"name": "large.png", "mimeType": "image/png", "buffer": bytes(21_000_000)}
    upload(page, large)
    page.get_by_text('exceed the maximum allowed size of 20.0 Mb: "large.png"').first.wait_for()
    reply = page.request.post(f"{address}gradio_api/upload", multipart={"files": large})
    assert reply.status == 413


def test_the_cheapest_setting(visit):
    page = visit()
    page.get_by_role("button", name="Find the cheapest").click()
    before, after = row(page, "answer")
    assert before == after
    gflops = [float(cell) for cell in row(page, "encoder GFLOPs")]
    assert gflops[1] < gflops[0] / 2


def test_two_at_once(visit):
    one, other = visit(), visit()
    upload(one, EXAMPLE)
    one.get_by_label("Question").fill("What number is written?")
    other.get_by_role("button", name="chart", exact=True).click()
    other.get_by_label("Question").fill("What number is at ship?")
    ask(one)
    ask(other)
    assert row(one, "answer")[0] == "880"
    assert row(other, "answer")[0] != "880"
    assert other.get_by_label("Question").input_value() == "What number is at ship?"


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off(visit, width):
    page = visit(viewport={"width": width, "height": 900})
    ask(page)
    row(page, "answer")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
