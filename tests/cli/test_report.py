"""`ipcv report`: one page that needs no other file."""

import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
from PIL import Image

import ipcv
from tests.cli.test_bench import error_of
from tests.cli.test_run import run
from tests.vision.adapters.families import build

OPTIONS = ("--device", "cpu", "--method", "adaptive", "--method", "downsample")
RATIO = ("--ratio", 0.5)


class Page(HTMLParser):
    """Addresses, and tags that are open."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.open, self.downloads = [], [], {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.addresses += [given[name] for name in ("href", "src") if name in given]
        if "download" in given:
            self.downloads[given["download"]] = given["href"]
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.png", "<b>&.png"):
        Image.linear_gradient("L").resize((112, 84)).convert("RGB").save(folder / name)
    return folder


def test_a_page_is_whole(capsys, checkpoint, images, tmp_path):
    output = tmp_path / "report.html"
    assert run("report", checkpoint, *OPTIONS, *RATIO, "--images", images, "-o", output) == 0
    text = output.read_text()
    page = Page(text)
    assert page.open == []
    assert all(address.startswith("data:") for address in page.addresses)
    assert "<script" not in text
    assert str(checkpoint.parent) not in text
    pictures = [a for a in page.addresses if a.startswith("data:image")]
    assert len(pictures) == 3  # quality against time, and two images
    assert re.search("(Best|Worst): &lt;b&gt;&amp;.png", text)
    for part in ("At equal encoder time", "adaptive 0.5", "downsample", "torch"):
        assert part in text
    (name,) = page.downloads
    assert name == "adaptive-0.5.json"
    settings = tmp_path / name
    settings.write_text(unquote(page.downloads[name].partition(",")[2]))
    assert ipcv.load(settings) == ipcv.Preset(ipcv.Adaptive(0.5))
    assert json.loads(settings.read_text())["language"] is None
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_methods_that_keep_nothing_as_it_is(images, tmp_path):
    model, output = tmp_path / "model", tmp_path / "report.html"
    build("dinov2").save_pretrained(model)
    options = ("--device", "cpu", "--method", "tome", *RATIO, "--size", 32)
    assert run("report", model, *options, "--images", images, "-o", output) == 0
    assert "None of these methods keeps patches as they are" in output.read_text()


def test_bad_input_leaves_no_page(capsys, checkpoint, images, tmp_path):
    output = tmp_path / "report.html"
    command = ("report", checkpoint, *OPTIONS, *RATIO, "-o", output, "--images")
    assert "is not a folder" in error_of(capsys, *command, tmp_path / "none")
    assert "does not exist" in error_of(capsys, *command, images, "-o", tmp_path / "no" / "a.html")
    assert "method must be one of" in error_of(capsys, *command, images, "--method", "x")
    for path in images.iterdir():
        path.write_text("")
    assert "can be shown" in error_of(capsys, *command, images)
    assert not output.exists()
