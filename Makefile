# The two commands of the README are `make quickstart` and `make test`. Each makes the virtual
# environment in .venv, installs from the lock, and does its job.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STUDY := studies/quickstart.yaml
# Answers where the index that pip-audit asks is there, with what it asks for.
INDEX := https://pypi.org/pypi/pip/24.0/json

.PHONY: quickstart test test-slow soak check format schema bench bench-study scale clean

quickstart: $(VENV)/installed
	$(BIN)/paradapt search $(STUDY)

# A process a core, of one thread each: two with two threads would stand in each other's way. In the
# order of the folders, since end_to_end, first of them, takes longest.
test: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder --max-worker-restart 0 -m "not slow and not soak"

# What takes minutes: long runs, and many inputs.
test-slow: $(VENV)/installed-dev
	$(BIN)/pytest -m "slow and not soak"

# A study of 2,000 trials whose workers are killed for 20 minutes: more than half an hour.
soak: $(VENV)/installed-dev
	$(BIN)/pytest -m soak

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_imports.py
	@if $(BIN)/python -c "import json, urllib.request as r; \
		json.load(r.urlopen('$(INDEX)', timeout=10))['vulnerabilities']" 2>/dev/null; then \
		$(BIN)/pip-audit -r constraints.txt --no-deps --disable-pip --progress-spinner off; \
	else \
		echo "pip-audit is skipped: $(INDEX) does not answer, and it knows the vulnerabilities."; \
	fi

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The JSON schema of the study file, for editors.
schema: $(VENV)/installed
	$(BIN)/python -m search.study_file > studies/study.schema.json

# One table of speed, memory and disk, measured in turns; also written to benchmarks.json. The
# machine should be idle: it takes two hours on two cores, the parts `engine` and `accuracy` most.
bench: $(VENV)/installed-dev
	$(BIN)/python -m tests.benchmarks.table

# A whole study against a plain Optuna study, also written to benchmarks-study.json: half an hour.
bench-study: $(VENV)/installed-dev
	$(BIN)/python -m tests.benchmarks.study

# What saturates first with many workers and trials, measured and simulated.
scale: $(VENV)/installed-dev
	$(BIN)/python -m studies.scale --write

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
