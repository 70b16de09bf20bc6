# raftkit: `make demo` shows it, `make test` proves it, `make help` lists the rest.
#
# Any target makes .venv first (.ci/venv; PYTHON=… chooses the interpreter). `check` never writes in the
# tree, `fix` does.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test check fix soak explore mutants accept bench bench-compare docs coverage clean

PYTHON ?=
BIN := .venv/bin
CLI := .venv/.stamp-cli
DEV := .venv/.stamp-dev
CODE := $(wildcard raftkit tests examples benchmarks)
JOBS ?= 2

# Containers like to forbid it, but the tests start hundreds of interpreters, each of which would compile all.
export PYTHONDONTWRITEBYTECODE :=

DEMO_ARGS ?=
TEST_ARGS ?=
EXPLORE_ARGS ?=
SOAK_ARGS ?=
MUTANTS_ARGS ?=
BENCH_ARGS ?=

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

$(CLI): pyproject.toml .ci/venv
	@PYTHON="$(PYTHON)" .ci/venv cli

$(DEV): pyproject.toml .ci/venv
	@PYTHON="$(PYTHON)" .ci/venv dev

demo: $(CLI)  ## three processes replicate a real text, lose their leader half-way, and are compared (DEMO_ARGS=…)
	@$(BIN)/raftkit demo $(DEMO_ARGS)

test: $(DEV)  ## every test (TEST_ARGS=…, JOBS=2)
	@$(BIN)/python -m pytest -q -n $(JOBS) $(TEST_ARGS)

check: export PYTHONDONTWRITEBYTECODE := 1
check: $(DEV)  ## style, format, types, floors and docs; never writes in the tree
	@echo "check: ruff";         $(BIN)/ruff check --quiet --no-cache .
	@echo "check: ruff format";  $(BIN)/ruff format --quiet --check --no-cache .
	@echo "check: import floors"; $(BIN)/lint-imports --no-cache --no-logo > .venv/.lint-imports \
	    || { cat .venv/.lint-imports; exit 1; }
	@echo "check: mypy";         $(BIN)/mypy --no-error-summary --cache-dir .venv/.mypy_cache $(CODE)
	@echo "check: pyright";      $(BIN)/pyright --pythonpath $(BIN)/python > .venv/.pyright \
	    || { cat .venv/.pyright; exit 1; }
	@echo "check: docs"; out=$$(mktemp -d); trap 'rm -rf "$$out"' EXIT; \
	    $(BIN)/sphinx-build -q -W --keep-going -d "$$out/doctrees" docs "$$out/html"
	@echo "check: clean"

fix: $(DEV)  ## let ruff write: format, and what it can mend itself
	@$(BIN)/ruff check --quiet --no-cache --fix --exit-zero .
	@$(BIN)/ruff format --no-cache .

soak: $(DEV)  ## random worlds on all cores until something breaks (SECONDS=60, SOAK_ARGS=…)
	@$(BIN)/python -m raftkit.testing.soak --jobs $(JOBS) \
	    $(if $(SECONDS),--seconds $(SECONDS)) $(SOAK_ARGS)

explore: $(DEV)  ## everything that can happen to a small group, within bounds (EXPLORE_ARGS="--disk --terms 2")
	@$(BIN)/python -m raftkit.testing.explore $(EXPLORE_ARGS)

mutants: $(DEV)  ## a hundred mistakes on purpose, and who notices each; takes hours (MUTANTS_ARGS=…)
	@nice $(BIN)/python -m tests.mutants --jobs $(JOBS) $(MUTANTS_ARGS)

# pytest's status 5 means that no test was selected.
accept: $(DEV)  ## the tests that prove rows of the acceptance table
	@status=0; out=$$($(BIN)/python -m pytest -q -n $(JOBS) -m accept $(TEST_ARGS)) || status=$$?; \
	if [ $$status = 5 ]; then echo "accept: no test is marked accept(…) yet"; \
	else echo "$$out"; exit $$status; fi

bench: $(CLI)  ## raftkit beside etcd and PySyncObj, in one run; some minutes (BENCH_ARGS="--rounds 1")
	@$(BIN)/python -m benchmarks.peers.prepare
	@$(BIN)/python -m benchmarks.compare $(BENCH_ARGS)

bench-compare: $(CLI)  ## this tree beside another revision of it, by turns (BASE=REV, BENCH_ARGS=…)
	@$(BIN)/python -m benchmarks.revisions $(if $(BASE),$(BASE),HEAD) $(BENCH_ARGS)

docs: $(DEV)  ## the documentation, in docs/_build/html
	@$(BIN)/sphinx-build -q -W --keep-going -d docs/_build/doctrees docs docs/_build/html
	@echo "docs: docs/_build/html/index.html"

coverage: export COVERAGE_FILE := .venv/.coverage
coverage: $(DEV)  ## every branch of core and wire, through their doors
	@$(BIN)/python -m pytest -q -n $(JOBS) $(wildcard tests/core tests/paper tests/wire) \
	    --cov=raftkit.core --cov=raftkit.wire --cov-branch --cov-report=term-missing:skip-covered \
	    --cov-fail-under=100 $(TEST_ARGS)

clean:  ## remove .venv, caches and what was built
	@rm -rf .venv .peers build dist docs/_build .hypothesis .pytest_cache .mypy_cache .ruff_cache \
	    .import_linter_cache .coverage .coverage.* htmlcov
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
