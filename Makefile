# Everything a person or CI does with this repository. `make help` lists the targets.
PYTHON ?= python3.11
BIN := .venv/bin
INSTALLED := .venv/.installed
INSTALLED_DEV := .venv/.installed-dev
T ?= tests connectors
N ?= 2000
UV_COMPILE := uv pip compile -q --generate-hashes --no-emit-index-url --no-header --no-annotate
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help install install-dev run down test check bench lint types imports unit withdrawals lock clean conformance crash schemas
.DEFAULT_GOAL := help

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: $(INSTALLED) ## Make .venv with the pinned, hashed dependencies that running needs

install-dev: $(INSTALLED_DEV) ## The same and the tools of the tests

.venv/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not on PATH (set PYTHON=...)" >&2; exit 1; }
	$(PYTHON) -m venv .venv

$(INSTALLED): requirements.txt pyproject.toml | .venv/bin/python
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(INSTALLED_DEV): requirements-dev.txt $(INSTALLED)
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

run: $(INSTALLED) ## Start everything and run the main job on sample cases
	$(BIN)/cauce up
	$(BIN)/cauce demo

down: $(INSTALLED) ## Stop everything that `make run` started
	$(BIN)/cauce down

test: lint types imports ## Everything CI runs, on its own Kafka and PostgreSQL (T=path: a part)
	$(BIN)/python -m pytest $(T)

check: lint types imports unit ## The fast part: lint, types, import contracts, unit tests

lint: $(INSTALLED_DEV) ## Ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED_DEV) ## mypy --strict
	$(BIN)/mypy

imports: $(INSTALLED_DEV) ## Import contracts between the layers and services
	PYTHONPATH=. $(BIN)/lint-imports

unit: $(INSTALLED_DEV) ## Unit and contract tests: no broker, no database
	$(BIN)/python -m pytest -q tests/unit tests/contract tests/test_repository.py

bench: $(INSTALLED) ## Measure this machine: rate, latency, CPU by part (JSON)
	$(BIN)/python -m bench

withdrawals: $(INSTALLED_DEV) ## Withdrawals aimed at calls under way, with kills; histogram (N=2000)
	$(BIN)/python -m tests.support.withdrawal --count $(N)

crash: $(INSTALLED_DEV) ## Kill -9 of every part at every step, the full product (20 minutes)
	$(BIN)/python -m tests.crash --full

conformance: $(INSTALLED_DEV) ## Strangers' validator, servers and clients (DATA=profiles; needs Node and Maven artifacts; ~4 minutes)
	$(BIN)/python -m tests.conformance $(if $(DATA),--data $(DATA)) $(foreach P,$(PART),--only $(P))

schemas: $(INSTALLED_DEV) ## After a change of an .avsc: write the classes and give new schemas an id
	$(BIN)/python -m schemas.generate
	$(BIN)/python -m schemas.release

lock: $(INSTALLED_DEV) ## Resolve the dependencies again and write both requirement files (needs uv)
	$(UV_COMPILE) --python $(BIN)/python --extra build pyproject.toml -o requirements.txt
	$(UV_COMPILE) --python $(BIN)/python --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt

clean: ## Remove caches (never data: that is in .run)
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
