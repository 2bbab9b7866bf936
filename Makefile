# `make run` and `make test` do all set-up they need, in .venv.
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE ?= 1

.PHONY: run test fuzz test-versions test-timm test-lmms test-vllm test-demo check package docs bench gpu clean

run: .venv/.run
	$(BIN)/ipcv run

# One process per core, of one thread each.
test: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

# Half an hour, or FUZZ=seconds, of damaged files; `make test` takes a minute of it.
FUZZ ?= 1800
fuzz: .venv/.dev
	IPCV_FUZZ_SECONDS=$(FUZZ) $(BIN)/python -m pytest tests/fuzz

# With the oldest and the newest transformers that pyproject.toml allows.
test-versions: .venv-oldest/.dev .venv-newest/.dev
	.venv-oldest/bin/python -m pytest
	.venv-newest/bin/python -m pytest

# With timm, which wants torchvision, in an environment of its own.
test-timm: .venv-timm/.dev
	OMP_NUM_THREADS=1 .venv-timm/bin/python -m pytest -k "timm or every_encoder" \
		tests/families tests/vision/adapters

# With lmms-eval, which wants an environment of its own: several minutes to install.
test-lmms: .venv-lmms/.dev
	.venv-lmms/bin/python -m pytest tests/lmms tests/integrations

# vLLM on a CPU, in an environment of its own. The rest: `make test-vllm SELECT=slow`, of which
# `SELECT=soak` is the longest.
SELECT ?= not slow
test-vllm: .venv-vllm/.ready
	OMP_NUM_THREADS=1 .venv-vllm/bin/python -m pytest -W default -m "$(SELECT)" \
		tests/vllm tests/bench/test_servers.py

# The page of `ipcv demo` in Debian's chromium, in an environment of its own.
test-demo: .venv-demo/.dev
	OMP_NUM_THREADS=1 .venv-demo/bin/python -m pytest -W default tests/demo

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The sdist, and the wheel made of it, which is put where nothing else is and run there.
package: .venv/.dev
	rm -rf dist .venv-package
	$(BIN)/python -m build -q
	$(PYTHON) -m venv .venv-package
	.venv-package/bin/python -m pip install -q -c constraints.txt torch==2.13.0 dist/*.whl
	cd dist && ../.venv-package/bin/ipcv run

# The site, in build/site: no broken link, no public name without a docstring.
docs: .venv-docs/.ready
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

bench: .venv/.run
	$(BIN)/ipcv bench

# All that only a GPU can tell, in about 7 minutes; without make: tools/gpu/run.sh OUT.
OUT ?= runs/gpu
gpu: .venv/.dev
	PYTHON=$(BIN)/python tools/gpu/run.sh $(OUT)

clean:
	rm -rf .venv .venv-oldest .venv-newest .venv-timm .venv-lmms .venv-vllm .venv-demo .venv-docs .venv-package build/site dist

# The pinned torch first: a CPU build where the index has one, before anything asks for a range.
.venv/.torch: constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt torch==2.13.0
	@touch $@

.venv/.run: .venv/.torch pyproject.toml
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	@touch $@

.venv/.dev: .venv/.torch pyproject.toml
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	@touch $@ .venv/.run

# The code is read and not run: nothing of it is needed.
.venv-docs/.ready: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install -q -c constraints.txt $(DOCS)
	@touch $@

DOCS := $(shell sed -n '/^docs = \[/,/^\]/s/^ *"\(.*\)",$$/"\1"/p' pyproject.toml)

OLDEST := $(shell sed -n 's/.*"transformers>=\([0-9.]*\),.*/\1/p' pyproject.toml)
.venv-oldest/.dev: TRANSFORMERS := transformers==$(OLDEST).*
.venv-newest/.dev: TRANSFORMERS := transformers<6
.venv-%/.dev: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(@D)
	grep -v '^transformers==' constraints.txt > $(@D)/constraints.txt
	$(@D)/bin/python -m pip install -q -c $(@D)/constraints.txt torch==2.13.0
	$(@D)/bin/python -m pip install -q -U -c $(@D)/constraints.txt "$(TRANSFORMERS)" -e ".[dev]"
	@touch $@

.venv-timm/.dev: constraints.txt pyproject.toml .ci/torchvision_on_cpu.py
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install -q -c constraints.txt torch==2.13.0
	$(@D)/bin/python .ci/torchvision_on_cpu.py
	$(@D)/bin/python -m pip install -q -c constraints.txt -e ".[dev,timm]"
	@touch $@

# An older av than ours, and torchvision even on a CPU.
.venv-lmms/.dev: constraints.txt pyproject.toml .ci/torchvision_on_cpu.py
	$(PYTHON) -m venv $(@D)
	grep -v '^av==' constraints.txt > $(@D)/constraints.txt
	$(@D)/bin/python -m pip install -q -c $(@D)/constraints.txt torch==2.13.0
	$(@D)/bin/python .ci/torchvision_on_cpu.py
	$(@D)/bin/python -m pip install -q -c $(@D)/constraints.txt -e ".[dev,lmms-eval]"
	@touch $@

# An older pillow than ours.
.venv-demo/.dev: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(@D)
	grep -v '^pillow==' constraints.txt > $(@D)/constraints.txt
	$(@D)/bin/python -m pip install -q -c $(@D)/constraints.txt torch==2.13.0
	$(@D)/bin/python -m pip install -q -c $(@D)/constraints.txt -e ".[dev,demo]" playwright
	@touch $@

.venv-vllm/.ready: .ci/vllm_cpu_env.sh .ci/torchvision_on_cpu.py pyproject.toml
	rm -rf $(@D)
	PYTHON=$(PYTHON) .ci/vllm_cpu_env.sh $(@D)
	@touch $@
