#!/bin/sh
# Gather the wheels that tools/gpu/run.sh installs on a machine without network: transformers, rich
# and typer with what they need, for Python 3.12 on x86-64. Torch and numpy must be there.
set -eu
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3}
MOST=60
rm -rf .gpu/wheels
mkdir -p .gpu/wheels
platforms="--platform manylinux2014_x86_64"
for version in 17 24 27 28 31 34; do
    platforms="$platforms --platform manylinux_2_${version}_x86_64"
done
# shellcheck disable=SC2086 # a list
"$PYTHON" -m pip download -q --only-binary=:all: --python-version 3.12 --implementation cp \
    $platforms -d .gpu/wheels -c constraints.txt transformers tokenizers huggingface_hub rich typer
rm .gpu/wheels/numpy-*.whl
size=$(du -sm .gpu/wheels | cut -f1)
echo ".gpu/wheels: $size MiB"
if [ "$size" -ge "$MOST" ]; then
    echo "more than $MOST MiB" >&2
    exit 1
fi
