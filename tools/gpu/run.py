"""The parts of the GPU run: each in a process of its own, with a time limit, and a file of results.

python -m gpu.run OUT [--device cpu] [--quick] [--dinov2 FOLDER --photos FOLDER]
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch

from ipcv.bench.environment import device_name, versions
from ipcv.core.output import write_json

ROOT = Path(__file__).parents[2]
FULL = "--dtype bfloat16"
SMALL = "--dtype float32 --width 160 --depth 4"


class Part(NamedTuple):
    """One part: its name, a time limit in seconds, and its arguments, also those of a quick run."""

    name: str
    seconds: int
    program: str
    arguments: str
    quick: str


PARTS = (
    Part(
        "tests",
        60,
        "-m gpu.tests",
        "--ignore=tests/gpu/test_run.py",
        "-m 'not slow' -k qwen2_vl",
    ),
    Part(
        "speed",
        160,
        "benchmarks/speed.py",
        f"{FULL} --seconds 1 --attention sdpa flash_attention_2 "
        "--shapes qwen2-vl-7b qwen2.5-vl-7b qwen3-vl-8b internvl3-8b "
        "--cases '8 x 1,024' 4,096 16,384 '64 frames x 576' 1,024 256",
        f"{SMALL} --seconds 0 --shapes qwen2-vl-7b --cases 64",
    ),
    Part(
        "fixed-lengths",
        45,
        "benchmarks/fixed_lengths.py",
        FULL,
        f"{SMALL} --shapes qwen2-vl-7b --case 64 --backend eager --repetitions 2",
    ),
    Part(
        "generation",
        75,
        "benchmarks/generation.py",
        f"{FULL} --shape qwen2-vl-2b",
        "--dtype float32 --side 112 --new-tokens 2 --repetitions 1 --requests 1 2",
    ),
    Part("precision", 50, "benchmarks/precision.py", "", "--questions 6"),
    Part("one-call", 30, "benchmarks/one_call.py", FULL, f"{SMALL} --case 64"),
)


def run(part: Part, options: argparse.Namespace) -> dict[str, Any]:
    """Run a part, and say how it ended, how long it took and what it wrote."""
    path = options.out / f"{part.name}.json"
    path.unlink(missing_ok=True)
    command = [sys.executable, *part.program.split(), str(path)]
    if part.name != "tests":
        command += ["--device", options.device]
    command += shlex.split(part.quick if options.quick else part.arguments)
    if part.name == "precision" and options.dinov2:
        command += ["--dinov2", options.dinov2, "--photos", options.photos]
    print(f"== {part.name}", flush=True)
    start, process = time.monotonic(), subprocess.Popen(command, cwd=ROOT)
    try:
        ended = "finished" if process.wait(part.seconds * options.patience) == 0 else "failed"
    except subprocess.TimeoutExpired:
        ended = "cut off"
        stop(process)
    result = json.loads(path.read_text()) if path.exists() else None
    seconds = round(time.monotonic() - start, 1)
    print(f"== {part.name}: {ended} after {seconds} s", flush=True)
    return {"ended": ended, "seconds": seconds, "result": result}


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started."""
    for child in psutil.Process(process.pid).children(recursive=True):
        child.kill()
    process.kill()
    process.wait()


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Everything that only a GPU can tell.")
    parser.add_argument("out", type=Path, help="folder for the results")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it still work?")
    names = [part.name for part in PARTS]
    parser.add_argument("--parts", nargs="+", choices=names, help="these again; others stay")
    parser.add_argument("--dinov2", help="folder with a vision encoder for the fidelity")
    parser.add_argument("--photos", help="folder with images for it")
    parser.add_argument("--patience", type=float, default=1, help="factor on the time limits")
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("no CUDA device: give --device cpu --quick to try the script")
    if bool(options.dinov2) != bool(options.photos):
        parser.error("--dinov2 and --photos go together")
    return options


def main() -> int:
    """Run all parts; after each, the file with all of them is whole."""
    options = parsed()
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    name = device_name(torch.device(options.device))
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    content = {"device": name, "quick": options.quick, "versions": versions(), "parts": {}}
    print(content, flush=True)
    path = options.out / f"gpu-{slug}.json"
    if options.parts and path.exists():
        content["parts"] = json.loads(path.read_text())["parts"]
    for part in PARTS:
        if part.name in (options.parts or part.name):
            content["parts"][part.name] = run(part, options)
            write_json(path, content)
    ended = {part["ended"] for part in content["parts"].values()}
    return 0 if ended == {"finished"} else 1


if __name__ == "__main__":
    sys.exit(main())
