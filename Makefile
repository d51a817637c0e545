# Nothing but python3, pip and make is needed: each target makes .venv itself.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help

# `make test ROOM=store`: its own tests, those of its specification, and its scenarios.
SPEC_storage := disk journal
SCENARIOS_store := bank levels registers
SCENARIOS_breaker := cascade
SCENARIOS_hashing := hashing
OF_ROOM = $(wildcard tests/$(ROOM) tests/test_$(ROOM).py \
    $(foreach name,$(or $(SPEC_$(ROOM)),$(ROOM)),tests/spec/test_$(name)*.py) \
    $(foreach name,$(SCENARIOS_$(ROOM)),tests/scenarios/test_$(name).py))
TESTS = $(if $(ROOM),$(or $(OF_ROOM),$(error no room is named $(ROOM): look into tests/)),tests)

.PHONY: help demo dev test slow check bench pictures names torture explore clean

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

test: .venv/dev   ## the tests but for the slow ones, under four minutes on two cores; ROOM=store
	$(BIN)/python -m pytest -n 2 -m "not slow" $(TESTS)

slow: .venv/dev   ## the slow ones: many examples, many seeds, outside clients; ROOM=store
	$(BIN)/python -m pytest -n 2 -m slow $(TESTS)

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
