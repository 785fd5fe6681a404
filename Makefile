# Targets: setup reproduce test test-browser docs bench bench-estimation bench-real-data
# bench-attention bench-attention-accuracy lock clean.
# Each installs what it needs.
PYTHON ?= python3.11
PRESET ?= quick
OUT ?= results/$(PRESET)

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed-docs
BENCH_STAMP := $(VENV)/.installed-bench

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup reproduce test lint types pytest test-browser docs bench bench-estimation
.PHONY: bench-real-data bench-attention bench-attention-accuracy lock clean

help:
	@echo "make setup         create $(VENV) with the exact versions of requirements.lock"
	@echo "make reproduce     redraw the paper's figures (PRESET=quick|paper|asymptotic, OUT=folder)"
	@echo "make test          lint, types, tests and doctests"
	@echo "make test-browser  open the report in a headless Chromium and use it"
	@echo "make docs          build the site into docs/_build/html, warnings are errors"
	@echo "make bench         every benchmark below"
	@echo "make bench-estimation  least squares against what else one would use (ARGS=--quick)"
	@echo "make bench-real-data  mixtures against other regressions on real tables (ARGS=--quick)"
	@echo "make bench-attention  sigmoid attention beside torch's softmax, on the CPU (ARGS=--quick)"
	@echo "make bench-attention-accuracy  errors of attention by length, and their figure"
	@echo "make lock          write the lock files anew from pyproject.toml"
	@echo "make clean         remove caches and built files; results/ and $(VENV) stay"

setup: $(STAMP)

# The stamp is younger than the lock and pyproject.toml only if the last install went through.
$(STAMP): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --requirement requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -c "import sigmoe.attention as a; print('compiled attention:', a.native_status())"
	@$(BIN)/python -c "import sigmoe.estimation as e; print('compiled fits:', e.native_status())"
	@touch $@

$(DOCS_STAMP): $(STAMP) requirements-docs.lock
	$(PIP) install --quiet --requirement requirements-docs.lock
	@touch $@

reproduce: $(STAMP)
	$(BIN)/sigmoe reproduce all --preset $(PRESET) --out $(OUT)

test: lint types pytest

lint: $(STAMP)
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: $(STAMP)
	$(BIN)/mypy

# A worker a processor; a module's tests stay together, as they share what they fitted.
pytest: $(STAMP)
	$(BIN)/pytest --numprocesses auto --dist loadscope

test-browser: $(STAMP)
	$(BIN)/pytest -m browser tests

docs: $(DOCS_STAMP)
	$(BIN)/sphinx-build -E -W --keep-going -b html docs docs/_build/html

bench: bench-estimation bench-real-data bench-attention bench-attention-accuracy

# The peers' packages come on top of the lock; the tests do not need them.
$(BENCH_STAMP): $(STAMP) requirements-bench.lock
	$(PIP) install --quiet --requirement requirements-bench.lock
	@touch $@

bench-estimation: $(BENCH_STAMP)
	$(BIN)/python -m benchmarks.estimation $(ARGS)

# flexmix runs in R (Debian: r-cran-flexmix); without it the table says "not installed".
bench-real-data: $(BENCH_STAMP)
	$(BIN)/python -m benchmarks.real_data $(ARGS)

bench-attention: $(STAMP)
	$(BIN)/python -m benchmarks.attention $(ARGS)

bench-attention-accuracy: $(STAMP)
	$(BIN)/python -m benchmarks.attention_accuracy $(ARGS)

# Both lock files come from fresh environments, so that they hold what is needed and no more.
# A local version such as 2.13.0+cpu is cut to the public one, which every index has.
lock:
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet --upgrade pip
	build/lock/bin/pip install --quiet --group build --group lint --group test torch==2.13.0 .
	build/lock/bin/pip freeze --exclude sigmoe | sed 's/+cpu$$//' > requirements.lock
	build/lock/bin/pip install --quiet --group docs
	build/lock/bin/pip freeze --exclude sigmoe | sed 's/+cpu$$//' > requirements-docs.lock
	rm -rf build/lock

clean:
	rm -rf build dist docs/_build docs/gallery docs/reference/generated docs/sg_execution_times.rst
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
