# `make demo`, `make run` and `make test` set up what they need: a virtual environment with pinned dependencies.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export PYTHONUNBUFFERED = 1

# `make compare` trains every method over three seeds: hours, and it goes on where it was stopped.
.PHONY: demo run compare test test-long lint docs setup bench wheel label-demo clean

demo: setup
	$(BIN)/mili demo --out=demo.mp4

run: setup
	$(BIN)/mili run --config=run --workdir=runs/run

compare: setup
	$(BIN)/mili compare --config=compare --seeds=0,1,2 --workdir=runs/compare

test: setup
	$(BIN)/python -m pytest tests -q -n 3 --dist worksteal

test-long: setup
	$(BIN)/python -m pytest tests -q -n 3 --dist worksteal -m long

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[docs]'
	# The theme prints pages about its successor without this.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir site

bench: setup
	# PyTorch's own index has wheels for CPUs alone, gigabytes smaller: see its page "Get started".
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev,bench]'
	$(BIN)/python -m benchmarks

# The page on which people answer, on 200 trials of a small run; the first time it makes them.
label-demo: setup
	test -e runs/label-demo/stages/round_1.json || ( \
	  $(BIN)/mili demos --config=test --config.improve.trials=200 --workdir=runs/label-demo && \
	  $(BIN)/mili pretrain --workdir=runs/label-demo && \
	  $(BIN)/mili collect --workdir=runs/label-demo --round=1 )
	$(BIN)/mili label runs/label-demo --round=1

wheel: setup
	# From nothing but the sources: what an earlier build has left would get into it.
	rm -rf build
	$(BIN)/python -m pip wheel --disable-pip-version-check --no-deps --wheel-dir dist .

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev,cluster,ann,people]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
