# Needs Python 3.11+ and make. `make help` lists what there is.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Importing dagster takes twice as long where this is set, and every run imports it.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run test faults bench lint lock clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(VENV)/run.stamp ## make .venv with report-pipeline in it

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed, this is " + sys.version.split()[0] + ": set PYTHON=/path/to/python3.11")'
	@echo "Making the environment in $(VENV) (a few minutes the first time) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: $(VENV)/bin/python requirements/run.lock pyproject.toml
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements/run.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp requirements/dev.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.lock
	@touch $@

$(VENV)/bench.stamp: $(VENV)/dev.stamp requirements/bench.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements/bench.lock
	@touch $@

run: setup ## build the sample's reports and serve the UI on 127.0.0.1:3000
	@exec $(BIN)/report-pipeline up

test: $(VENV)/dev.stamp ## run all tests, some at once; ARGS="-k name" goes to pytest
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile $(ARGS)

faults: $(VENV)/dev.stamp ## break things by thousands of seeds; ARGS="--seeds 50" for fewer
	@$(BIN)/python -m report_pipeline_tests.faults $(ARGS)

bench: $(VENV)/bench.stamp ## run the benchmarks, one JSON line a result
	@$(BIN)/python -m benchmarks

lint: $(VENV)/dev.stamp ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock: ## write the locks anew from pyproject.toml (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra build pyproject.toml -o requirements/run.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra build --extra dev -c requirements/run.lock pyproject.toml -o requirements/dev.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra build --extra dev --extra bench -c requirements/dev.lock pyproject.toml -o requirements/bench.lock

clean: ## remove the environment (not the local state in .local)
	rm -rf $(VENV)
