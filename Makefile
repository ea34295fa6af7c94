# The index of commands. `make demo` and `make test` are all that a newcomer needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=

.PHONY: help demo test check format unit bench lock clean packages

help: ## what there is
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: packages $(VENV)/.demo ## from a fresh machine to a running cluster with an application that answers
	$(BIN)/python examples/demo.py

test: packages-test $(VENV)/.test $(VENV)/.javascript check ## install what the tests need, and run them all
	$(BIN)/python -m pytest $(PYTEST_ARGS)

unit: $(VENV)/.test ## only the tests that need no root, containers or etcd
	$(BIN)/python -m pytest -q -m "not root and not containers and not network and not etcd" $(PYTEST_ARGS)

check: $(VENV)/.test ## ruff, mypy, import-linter
	$(BIN)/ruff check src tests examples bench
	$(BIN)/ruff format --check src tests examples bench
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.test ## let ruff put the code in order
	$(BIN)/ruff check --fix src tests examples bench
	$(BIN)/ruff format src tests examples bench

lock: $(VENV)/.test ## renew requirements.lock (names, versions, hashes)
	tools/lock $(BIN)

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

packages:
	@tools/install-packages

packages-test:
	@tools/install-packages --test
.PHONY: packages-test

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml
	@echo "Installing Python packages into $(VENV)"
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.javascript: tests/clients/js/package-lock.json $(VENV)/bin/python
	@echo "Installing the JavaScript client"
	cd tests/clients/js && npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml requirements.lock
	@echo "Installing Python packages into $(VENV)"
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@ $(VENV)/.demo
