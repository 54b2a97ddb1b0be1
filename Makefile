# Each target does all the set-up that it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
# Idle threads sleep instead of spinning: on small tensors spinning multiplies CPU time by three.
export OMP_WAIT_POLICY ?= PASSIVE
export GOMP_SPINCOUNT ?= 0

.PHONY: help setup demo test fast lint clean
help:            ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## */\t/' | expand -t 12

setup: $(STAMP)  ## a virtual environment in .venv with pinned dependencies
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile torch -c constraints.txt
	$(BIN)/python -m pip install --quiet --no-compile -e '.[dev]' -c constraints.txt
	@touch $(STAMP)

demo: setup      ## learn a world from pixels and act in it: writes runs/demo/report.html
	$(BIN)/openjepa demo $(ARGS)

test: setup lint ## every check that `main` must pass
	$(BIN)/python -m pytest -n 2 $(ARGS)

lint: setup      ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:           ## remove the environment and everything that runs have written
	rm -rf $(VENV) runs
