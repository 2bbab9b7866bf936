#!/bin/sh
# Everything that only a GPU can tell, in one call of about 7 minutes, results in the folder OUT:
#
#   tools/gpu/run.sh OUT
#   tools/gpu/run.sh OUT --device cpu --quick        # does the script still work?
#   tools/gpu/run.sh OUT --dinov2 FOLDER --photos FOLDER
#
# The machine needs no network. Wheels that it lacks are taken from .gpu/wheels, which
# tools/gpu/wheels.sh fills elsewhere. Copy OUT/gpu-*.json to benchmarks/results, then run
# PYTHONPATH=tools python benchmarks/write_speed.py.
set -eu
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3}
PYTHONPATH="$PWD/src:$PWD/tools:$PWD/benchmarks${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONPATH HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
lacks=0
"$PYTHON" -m gpu.check || lacks=$?
if [ "$lacks" -ne 0 ] && [ -d .gpu/wheels ]; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --target "$site" .gpu/wheels/*.whl
    PYTHONPATH="$site:$PYTHONPATH"
    lacks=0
    "$PYTHON" -m gpu.check || lacks=$?
fi
[ "$lacks" -lt 2 ] || exit "$lacks"
"$PYTHON" -m gpu.run "$@"
