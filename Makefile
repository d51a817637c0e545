# Nothing but python3, pip and make is needed: each target makes .venv itself.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help

.PHONY: help demo dev test check bench pictures names torture explore clean

help:             ## this list
	@sed -n 's/^\([a-z]*\): .*## /make \1	/p' Makefile

.venv/run: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[cli]'
	@touch $@

.venv/dev: .venv/run
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

demo: .venv/run   ## eight clients, two kills, no loss: twenty seconds
	@$(BIN)/sdkit demo

dev: .venv/dev    ## .venv with what tests, benchmarks and comparisons need, too

test: .venv/dev   ## every test, under five minutes on two cores
	$(BIN)/python -m pytest -n 2

check: .venv/dev  ## lint, format, types, import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: .venv/dev  ## ours, the peers and the limit, as ratios
	$(BIN)/python -m benchmarks

pictures: .venv/dev ## draw the diagrams and tables of docs/ from runs
	$(BIN)/python -m docs.pictures
	$(BIN)/python -m sdkit.cli.pages errors > docs/errors.md

names: .venv/dev  ## rewrite the list of public names
	$(BIN)/python -m tests.test_tidy

torture: .venv/run ## SIGKILL at random moments, for hours (SECONDS=3600)
	$(BIN)/sdkit demo --seconds $(or $(SECONDS),3600) --kills $$(( $(or $(SECONDS),3600) * 2 / 3 ))

explore: .venv/run ## other seeds of every scenario, for MINUTES=60; failures into explore/
	$(BIN)/python -m sdkit.cli.explore --minutes $(or $(MINUTES),60)

clean:            ## remove what the targets above made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
