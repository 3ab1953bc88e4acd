# On a machine with Python (3.11 to 3.13) and make, two commands do everything: `make repro` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL ?= $(BIN)/pip install --quiet -c constraints.txt  # the versions that CI tested
# The newest that pyproject.toml allows, by uv: pip takes more than 15 minutes to choose them.
INSTALL_LATEST = $(BIN)/pip install --quiet uv && $(BIN)/uv pip install --quiet --python $(BIN)/python
PYTEST := PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal $(PYTEST_FLAGS)
OURS := pipeline generate train evaluate datasets

.PHONY: repro test test-avx2 test-slow torture test-latest lint types docs pictures bench wheels lock clean

repro: $(VENV)/.installed          ## the default experiment: generate, train, evaluate
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro

test: $(VENV)/.installed-dev       ## the test suite, without the slow tests
	$(PYTEST)

test-avx2: $(VENV)/.installed-dev  ## what depends on the processor, with instructions limited to AVX2
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 $(PYTEST) -m "processor and not slow"

test-slow: $(VENV)/.installed-dev  ## kills, DVC, the whole pipeline at a small size
	$(PYTEST) -m slow --timeout 900

torture: $(VENV)/.installed-dev    ## kills, failing disks, hostile input: hours; a tenth of it: MATHPIPE_TORTURE=0.1
	MATHPIPE_TORTURE=$${MATHPIPE_TORTURE:-1} MATHPIPE_TORTURE_FIGURES=docs/development/robustness.jsonl PATH="$(CURDIR)/$(BIN):$$PATH" \
	  OMP_NUM_THREADS=1 $(BIN)/pytest tests/torture -m torture --timeout 14400
	$(BIN)/python docs/make_robustness.py

test-latest:                       ## the test suite with the newest versions, their deprecations as errors
	$(MAKE) test VENV=.venv-latest INSTALL='$$(INSTALL_LATEST)' PYTEST_FLAGS='-W error::FutureWarning'

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy -p mathpipe

docs: $(VENV)/.installed-dev       ## the documentation site, in build/docs/html; a broken link or reference is an error
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -d build/docs/doctrees docs build/docs/html

pictures: $(VENV)/.installed-dev   ## the pictures of the README and the site, made again: two models are trained
	$(BIN)/python docs/images/make_pictures.py build/pictures

bench: $(VENV)/.installed-dev      ## speed on this machine, on demand
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest tests/benchmarks -m benchmark --benchmark-enable --benchmark-columns=min,median,rounds

wheels: $(VENV)/.installed-dev     ## build sdist and wheel; install and run the wheel on Python 3.11 to 3.13
	.ci/wheels

lock: $(VENV)/.installed-dev       ## choose the versions anew that the other targets install
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --upgrade --no-annotate \
	  --custom-compile-command "make lock" pyproject.toml --output-file constraints.txt

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing mathpipe and what it needs into $(VENV): a few minutes"
	$(INSTALL) -e '.[dvc]'
	$(BIN)/python -m compileall -q $(OURS)
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing mathpipe and what its tests need into $(VENV): a few minutes"
	$(INSTALL) -e '.[dev]'
	$(BIN)/python -m compileall -q $(OURS)
	touch $(VENV)/.installed $@

clean:                             ## remove what can be made again (never data/ or runs/)
	rm -rf $(VENV) .venv-latest build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
