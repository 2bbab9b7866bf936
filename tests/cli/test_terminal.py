"""A command's stderr is its own, and ends in one line and a status whatever happens."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ipcv.cli import main, terminal
from ipcv.cli.faults import explain


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], int]:
    """Runs a function as if it were a command; its exit status."""

    def run(body: Callable[[], object]) -> int:
        monkeypatch.setattr("ipcv.cli.app.app", lambda *_, **__: body())
        with pytest.raises(SystemExit) as stop:
            main(["anything"])
        return int(str(stop.value.code))

    return run


def noise() -> None:
    os.write(2, b"a library in C\n")
    print("a library in Python", file=sys.stderr)
    terminal.say("ours")


def test_what_libraries_say_goes_into_the_log(
    command: Callable[[Callable[[], object]], int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(noise) == 0
    assert capfd.readouterr().err == "ours\n"
    logged = terminal.logged().splitlines()
    assert logged[-2:] == ["a library in C", "a library in Python"]
    os.write(2, b"behind it\n")
    assert capfd.readouterr().err == "behind it\n"


def test_a_command_can_give_stderr_back(
    command: Callable[[Callable[[], object]], int], capfd: pytest.CaptureFixture[str]
) -> None:
    def body() -> None:
        terminal.give_back()
        noise()

    assert command(body) == 0
    assert capfd.readouterr().err == "a library in C\na library in Python\nours\n"


def test_a_fault_of_ours_says_where_its_log_is(
    command: Callable[[Callable[[], object]], int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def body() -> None:
        noise()
        {}["nothing"]

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert command(body) == 70
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("ipcv: a fault of ipcv (KeyError: 'nothing'); the log is ")
    text = Path(line.split()[-1]).read_text()
    assert "Traceback" in text
    assert "a library in C" in text
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    assert command(body) == 70
    assert "no log could be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("two\n lines"), "two lines"),
        (ValueError(), "ValueError"),
        (MemoryError(), "out of memory"),
        (RuntimeError("[enforce fail] can't allocate memory: 9 bytes"), "out of memory: "),
    ],
)
def test_what_a_user_can_mend(error: Exception, line: str) -> None:
    message, status = explain(error)
    assert message.startswith(line)
    assert status == 1


def test_interrupted_even_where_something_else_came_of_it(
    command: Callable[[Callable[[], object]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("half an import") from None

    before = signal.getsignal(signal.SIGINT)
    assert command(body) == 130
    assert capsys.readouterr().err == "ipcv: interrupted\n"
    assert signal.getsignal(signal.SIGINT) is before


def test_interrupted_while_python_cannot_raise(
    command: Callable[[Callable[[], object]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    class Finalized:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def body() -> None:
        Finalized()
        time.sleep(5)

    assert command(body) == 130
    assert capsys.readouterr().err == "ipcv: interrupted\n"


@pytest.mark.parametrize("seconds", [0.0, 0.4, 2.0])
@pytest.mark.parametrize("verb", [["run"], ["inspect", "EXAMPLE", "-o", "OUT"]])
def test_ctrl_c_is_one_line(verb: list[str], seconds: float, tmp_path: Path) -> None:
    from ipcv.models import EXAMPLE

    words = {"EXAMPLE": str(EXAMPLE), "OUT": str(tmp_path / "out.png")}
    arguments = [words.get(word, word) for word in verb]
    code = "import ipcv.cli; print('ready', flush=True); ipcv.cli.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1 + seconds)  # main has begun
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "ipcv: interrupted\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["eval", "--images", ""], ["eval", "--images="]])
def test_an_option_without_a_value(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 1
    assert re.fullmatch("ipcv: --images is empty\n", capsys.readouterr().err)


def test_interrupted_in_code_that_libraries_make(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(
        "import signal, ipcv.cli, ipcv.cli.app as a\n"
        "a.app = lambda *_, **__: exec('signal.raise_signal(2)', {'signal': signal})\n"
        "ipcv.cli.main()"
    )
    command = [sys.executable, "-m", "module", "run"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr) == (130, "ipcv: interrupted\n")
