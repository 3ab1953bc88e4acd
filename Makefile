# Two commands do everything on a machine with Python (3.11 or newer) and make: `make repro` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: repro test test-slow lint types bench clean

repro: $(VENV)/.installed          ## the whole line: generate, train, evaluate
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro

test: $(VENV)/.installed-dev       ## the test suite, without the long proofs
	PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

test-slow: $(VENV)/.installed-dev  ## the long proofs: kills, DVC, the whole line at a toy size
	PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m slow --timeout 900

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy -p mathpipe

bench: $(VENV)/.installed-dev      ## speed on this machine, on demand
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest tests/benchmarks -m benchmark --benchmark-enable --benchmark-columns=min,median,rounds

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml setup.py | $(VENV)/bin/python
	@echo "installing mathpipe and what it needs into $(VENV): a few minutes"
	$(BIN)/pip install --quiet --no-compile -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml setup.py | $(VENV)/bin/python
	@echo "installing mathpipe and what its tests need into $(VENV): a few minutes"
	$(BIN)/pip install --quiet --no-compile -e '.[dev]'
	touch $(VENV)/.installed $@

clean:                             ## remove what can be made again (never data/ or runs/)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
