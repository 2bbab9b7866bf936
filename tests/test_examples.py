"""The examples run, and methods from outside the package are like those inside."""

import json
import runpy
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
from typer.main import get_command

import ipcv
from ipcv.cli.app import app
from ipcv.vision.engine import EncoderState, VisionEngine
from tests.vision.adapters.families import FAMILIES, build

EXAMPLES = Path(__file__).parents[1] / "examples"


CLIENT = EXAMPLES / "openai_client.py"
"""Needs a server."""

SPACE = EXAMPLES / "space" / "app.py"
"""Is one."""

LMMS = EXAMPLES / "lmms_eval_task.py"
"""Needs lmms-eval: its test is among those of `make test-lmms`."""


def files(pattern):
    """The examples; those that tune take long."""
    return [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * path.stem.startswith("tune"))
        for path in sorted(EXAMPLES.rglob(pattern))
        if path not in (CLIENT, LMMS, SPACE)
    ]


@pytest.mark.parametrize("path", files("*.py"))
def test_an_example_runs(path, capsys):
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out


def test_the_space_opens_the_demo(monkeypatch):
    given = []
    monkeypatch.setattr("ipcv.cli.main", given.extend)
    runpy.run_path(str(SPACE), run_name="__main__")
    command, *options = given
    get_command(app).commands[command].make_context(command, options)


class Server(BaseHTTPRequestHandler):
    """Speaks as much of the API as the example needs, and tells what it was asked."""

    def do_GET(self):
        self.reply({"object": "list", "data": [{"id": "tiny", "object": "model"}]})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        (message,) = request["messages"]
        image, text = message["content"]
        assert image["image_url"]["url"].startswith("data:image/")
        answer = {"role": "assistant", "content": f"{request['model']}: {text['text']}"}
        self.reply({"id": "1", "object": "chat.completion", "choices": [{"message": answer}]})

    def reply(self, content):
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_the_client_asks_a_server(monkeypatch, capsys):
    with HTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/v1"
        monkeypatch.setattr("sys.argv", [CLIENT.name, url])
        try:
            runpy.run_path(str(CLIENT), run_name="__main__")
        finally:
            server.shutdown()
            thread.join()
    assert capsys.readouterr().out == "tiny: What number is written?\n"


@pytest.mark.parametrize("path", files("*.ipynb"))
def test_a_notebook_runs(path, capsys, monkeypatch, tmp_path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__", "display": print}
    for cell in notebook["cells"]:
        assert not cell.get("outputs"), "outputs are made where it is run"
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and not source.startswith("%"):
            exec(compile(source, str(path), "exec"), names)
    assert capsys.readouterr().out


class Halving(VisionEngine[EncoderState]):
    """Halves what the last block returns."""

    def begin(self, context, full_outputs):
        return EncoderState(context, full_outputs)

    def enter(self, call, index, hidden_states, arguments):
        return None

    def attend(self, call, index, hidden_states):
        return None

    def restore(self, call, index, states):
        return states / 2


@dataclass(frozen=True)
class Halve(ipcv.VisionMethod):
    """Settings of that: none."""

    def engine(self, adapter, record):
        return Halving(adapter, record)


@pytest.mark.parametrize("name", ["qwen2_vl", "internvl", "dinov2"])
def test_a_method_may_bring_an_engine_of_its_own(name):
    model = build(name)
    encoder = ipcv.families.adapter_for(model).encoder
    outputs = []
    block = ipcv.families.adapter_for(model).blocks[-1]
    inputs = FAMILIES[name].inputs(model, [["small"]])
    hook = block.register_forward_hook(lambda *call: outputs.append(call[-1]))
    try:
        with torch.no_grad():
            model(**inputs)
            with ipcv.compress(model, Halve()):
                model(**inputs)
            model(**inputs)
    finally:
        hook.remove()
    plain, halved, after = (x[0] if isinstance(x, tuple) else x for x in outputs)
    assert torch.equal(halved, plain / 2)
    assert torch.equal(after, plain)
    assert "forward" not in vars(encoder)


def test_an_example_method_is_isolated_and_removed():
    method = runpy.run_path(str(EXAMPLES / "own_method.py"))["Outstanding"](1, 0.5)
    model = build("qwen2_vl")
    both = FAMILIES["qwen2_vl"].inputs(model, [["small", "large"]])
    alone = FAMILIES["qwen2_vl"].inputs(model, [["large"]])
    with torch.no_grad():
        before = model(**both)[0]
        with ipcv.compress(model, method) as handle:
            model(**both)
            kept = handle.kept_indices[1]
            model(**alone)
            assert torch.equal(handle.kept_indices[0], kept)
        assert torch.equal(model(**both)[0], before)
