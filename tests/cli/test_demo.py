"""`ipcv demo` without Gradio, and with a page that is not served."""

from contextlib import contextmanager
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from tests.cli.test_bench import error_of
from tests.cli.test_run import run


@pytest.mark.skipif(find_spec("gradio") is not None, reason="Gradio is installed")
def test_without_gradio_one_line_says_what_to_install(capsys):
    assert (
        error_of(capsys, "demo")
        == "ipcv: ipcv demo needs Gradio and PyAV: pip install 'ipcv[demo]'"
    )


def test_it_is_for_this_machine_alone_unless_told_otherwise(capsys, monkeypatch, checkpoint):
    served, desks = [], []

    @contextmanager
    def opened(desk):
        desks.append(desk)
        launch = lambda *at: served.append(at) or "http://here/"  # noqa: E731
        yield SimpleNamespace(launch=launch, blocks=SimpleNamespace(block_thread=lambda: None))

    monkeypatch.setattr("ipcv.cli.demo.require_gradio", lambda: None)
    monkeypatch.setattr("ipcv.cli.demo.opened", opened)
    assert run("demo", "--model", checkpoint, "--device", "cpu") == 0
    assert "http://here/" in capsys.readouterr().out
    assert run("demo", "--model", checkpoint, "--host", "0.0.0.0", "--port", 8080) == 0
    assert served == [("127.0.0.1", None), ("0.0.0.0", 8080)]
    assert desks[0].name == checkpoint.name  # and not where it lies


def test_bad_input(capsys, monkeypatch):
    monkeypatch.setattr("ipcv.cli.demo.require_gradio", lambda: None)
    assert "--port" in error_of(capsys, "demo", "--port", 0)
    assert "neither a folder" in error_of(capsys, "demo", "--model", "/nowhere")
