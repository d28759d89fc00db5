# The two commands of the README are `make quickstart` and `make test`. Each makes the virtual
# environment in .venv, installs from the lock, and does its job.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STUDY := studies/quickstart.yaml

.PHONY: quickstart test test-slow check format schema bench bench-study clean

quickstart: $(VENV)/installed
	$(BIN)/paradapt search $(STUDY)

test: $(VENV)/installed-dev
	$(BIN)/pytest -m "not slow"

# What takes minutes: long runs and soaks.
test-slow: $(VENV)/installed-dev
	$(BIN)/pytest -m slow

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_imports.py

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The JSON schema of the study file, for editors.
schema: $(VENV)/installed
	$(BIN)/python -m search.study_file > studies/study.schema.json

# One table of speed, memory and disk, measured in turns; also written to benchmarks.json. The
# machine should be idle: it takes half an hour or more on two cores.
bench: $(VENV)/installed-dev
	$(BIN)/python -m tests.benchmarks.table

# A whole study against a plain Optuna study, also written to benchmarks-study.json: half an hour.
bench-study: $(VENV)/installed-dev
	$(BIN)/python -m tests.benchmarks.study

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/made: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Paradapt needs Python 3.11 or later; name one: make PYTHON=python3.11 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/made constraints.txt
	@echo "Installing Paradapt and its libraries into $(VENV) (minutes, the first time) ..."
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "Installing the tools for tests and checks ..."
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@
