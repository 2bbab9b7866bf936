"""Settings and records with anything in them are refused in one line, or read."""

import json
from pathlib import Path
from random import Random

import ipcv
from ipcv.bench.quality.records import Records
from ipcv.core.config import Config
from tests.fuzz.conftest import Rounds
from tests.fuzz.mutations import hostile, hostile_text

SETTINGS = [
    ipcv.Preset(ipcv.IPCV(), ipcv.DART()),
    ipcv.Preset(ipcv.Adaptive(), ipcv.FastV()),
    ipcv.Preset(ipcv.baselines.PixelPrune(), ipcv.V2Drop()),
    ipcv.Preset(ipcv.baselines.ToMe(), ipcv.baselines.VisionZip()),
]


def test_settings(rounds: Rounds, tmp_path: Path) -> None:
    path, texts = tmp_path / "ipcv.json", []
    for settings in SETTINGS:
        settings.save(path, {"why": [1, "good"]})
        texts.append(path.read_text())

    def attack(rng: Random) -> None:
        path.write_bytes(hostile_text(rng.choice(texts), rng))
        settings = ipcv.load(path)
        assert isinstance(settings.vision, Config)
        settings.save(path)
        assert ipcv.load(path) == settings

    rounds(attack)


RUN = {"task": "fidelity", "model": "tiny", "side": None}
ROWS = [
    {"image": "a.png", "content": "1", "variant": "ipcv 0.5", "settings": "2", "cosine": 0.5},
    {"image": "b.png", "content": "1", "error": "broken"},
    {"candidate": "published", "round": "4", "budget": 0.5, "ratio": None},
    {"image": "a.png", "content": "1", "variant": "tome", "settings": "3", "cosine": None},
]


def test_records(rounds: Rounds, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"

    def attack(rng: Random) -> None:
        lines = [RUN, *ROWS]
        place = rng.randrange(len(lines))
        text = [json.dumps(line) for line in lines]
        text[place] = json.dumps(hostile(lines[place], rng))
        content = "\n".join(text).encode(errors="surrogatepass") + b"\n"
        if rng.random() < 0.25:
            content = hostile_text(json.dumps(lines), rng)
        path.write_bytes(content)
        try:
            records = Records(path, RUN)
            records.missing({"image": "a.png", "content": "1"}, {"ipcv 0.5": "2", "tome": "3"})
        except ValueError:
            if b'"task": "fidelity"' not in path.read_bytes():
                assert path.read_bytes() == content  # left alone
            raise
        assert all(isinstance(row, dict) for row in records.rows)

    rounds(attack)
