# `make run` and `make test` do all set-up they need, in .venv.
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE ?= 1

.PHONY: run test check bench clean

run: .venv/.run
	$(BIN)/ipcv run

test: .venv/.dev
	$(BIN)/python -m pytest

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.run
	$(BIN)/python benchmarks/encoder.py

clean:
	rm -rf .venv

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
