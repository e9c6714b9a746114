# `make run` and `make test` set up what they need: a virtual environment with pinned dependencies.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export PYTHONUNBUFFERED = 1

.PHONY: run test lint setup bench clean

run: setup
	$(BIN)/python -m experiments.mili --config=experiments/configs/mili.py:quick --workdir=runs/quick

test: setup
	$(BIN)/python -m pytest tests -q

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	# The wheel for CPUs alone: the other one brings gigabytes of CUDA.
	$(BIN)/python -m pip install --disable-pip-version-check -q torch --index-url https://download.pytorch.org/whl/cpu
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev,bench]'
	$(BIN)/python -m benchmarks

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
