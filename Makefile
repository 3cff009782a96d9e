# One Makefile for newcomers and for continuous integration; `make` alone explains itself.

.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin

ARGS ?=
# Test processes: 0 runs the suite in one, as a debugger wants it.
WORKERS ?= 3
# Pyright's wrapper otherwise asks the network whether a newer one exists.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

# The name changes with what is installed and where, so a second `make setup` has nothing to do, and
# one after either file changed installs again. (git sets times as it likes; they would tell less.)
INSTALLED := $(shell { pwd; cat requirements.lock pyproject.toml; } | cksum | cut -d' ' -f1)
STAMP := .venv/.setup-$(INSTALLED)

.PHONY: help setup demo serve test lint fmt bench lock clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## Make .venv from the lock; the first time needs a network and a minute

$(STAMP):
	@sh .ci/venv
	@rm -f .venv/.setup-*
	@touch $@

demo: $(STAMP) ## Show what Fathom does, in this terminal, offline and without keys
	$(BIN)/fathom demo $(ARGS)

serve: $(STAMP) ## Run the gateway on this machine
	$(BIN)/fathom serve $(ARGS)

test: $(STAMP) ## Run the tests (ARGS="tests/ledger -k hold", WORKERS=0 for one process)
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup $(ARGS)

lint: $(STAMP) ## Check style, formatting, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo

fmt: $(STAMP) ## Format, and repair what a tool can repair
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

bench: $(STAMP) ## Measure speed (ARGS="overhead --rounds 9" for one benchmark)
	$(BIN)/python -m benchmarks $(ARGS)

lock: $(STAMP) ## Resolve again what requirements.lock pins (ARGS=--upgrade for the newest)
	$(BIN)/uv pip compile pyproject.toml --group dev --output-file requirements.lock \
	  --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
	  --no-config --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" --quiet $(ARGS)

clean: ## Remove everything that was made here
	rm -rf .venv build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find app benchmarks migrations tests -name __pycache__ -type d -prune -exec rm -rf {} +
