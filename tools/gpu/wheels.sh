#!/bin/sh
# Gather, for a machine without network, the wheels that `tools/gpu/run.sh` installs there: of
# transformers and what it wants newer than old machines have. Python 3.12, x86-64.
set -eu
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3}
rm -rf .gpu/wheels
mkdir -p .gpu/wheels
platforms=$(for n in 17 24 27 28 31 34; do echo "--platform manylinux_2_${n}_x86_64"; done)
# shellcheck disable=SC2086
"$PYTHON" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 \
    --implementation cp $platforms --platform manylinux2014_x86_64 -d .gpu/wheels -c constraints.txt \
    transformers tokenizers huggingface_hub hf-xet safetensors rich typer shellingham annotated-doc
size=$(du -sm .gpu/wheels | cut -f1)
echo ".gpu/wheels: $size MiB"
[ "$size" -lt 60 ]
