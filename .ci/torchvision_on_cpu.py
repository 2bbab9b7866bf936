"""torchvision made importable beside a CPU build of torch, in the environment that runs this.

    python .ci/torchvision_on_cpu.py

timm, lmms-eval and some processors insist on it. Where the package index has only a build for CUDA,
its compiled operators cannot load: its transforms, which are plain Python, work all the same once
the operators that the import looks for are declared.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

TORCHVISION = "torchvision==0.28.0"  # the one for the torch in constraints.txt
DECLARATION = """

if not _has_ops():  # declared by ipcv's .ci/torchvision_on_cpu.py
    for _name in ("nms", "qnms"):
        _arguments = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{_name}", _arguments)
"""


def imports() -> bool:
    """Whether a fresh interpreter can import it."""
    command = [sys.executable, "-c", "import torchvision"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def main() -> None:
    """Install it, and declare the operators if it needs that."""
    if imports():
        return
    pip = [sys.executable, "-m", "pip", "install", "-q"]
    subprocess.run([*pip, "numpy", "pillow"], check=True)
    subprocess.run([*pip, "--no-deps", TORCHVISION], check=True)
    if not imports():
        extension = Path(sysconfig.get_paths()["purelib"], "torchvision", "extension.py")
        extension.write_text(extension.read_text() + DECLARATION)
    if not imports():
        sys.exit(f"{TORCHVISION} cannot be imported here")


if __name__ == "__main__":
    main()
