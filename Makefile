# gonogo: two commands do everything on a fresh Debian machine with root: `make run` and `make test`.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV   := .venv
PYTHON := $(VENV)/bin/python
GONOGO := $(PYTHON) gonogo.py
STAMP  := $(VENV)/.installed
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: setup system ## The main job on the embedded lab: ends in a verdict and a report
	@$(GONOGO) run --target lab --profile smoke; code=$$?; \
	if [ $$code -eq 0 ] || [ $$code -eq 3 ]; then exit 0; else exit $$code; fi

test: check unit live-test noop-test wheel lab-test ## Everything that has to pass

check: setup ## ruff and mypy strict
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

unit: setup ## Tests without a lab, in seconds
	@$(PYTHON) -m pytest -q -m "not lab and not wheel and not noop and not live" -n 2

live-test: setup ## Load and comparison against real servers on loopback
	@$(PYTHON) -m pytest -q -m live -n 2

noop-test: setup ## The main job on the no-op target: whole, broken, interrupted
	@$(PYTHON) -m pytest -q -m noop

wheel: setup ## Build the wheel and test the wheel
	@$(PYTHON) -m pytest -q -m wheel

lab-test: setup system ## Tests on the lab: the smoke profile, broken servers, killed runs, clean-up
	@$(PYTHON) -m pytest -q -m lab

bench: setup ## Measurements against peers, in one table; writes docs/performance.md
	@bash .ci/setup bench
	@$(PYTHON) -m benchmarks

docs: setup ## Renew what is generated: docs/converting.md, docs/criteria.md
	@$(PYTHON) -m provisioners.compose.table > docs/converting.md
	@$(PYTHON) -m reports.criteria_doc > docs/criteria.md

lab-down: setup ## Remove exactly what the lab made; caches stay
	@$(GONOGO) lab down

setup: $(STAMP) # Python packages, in .venv

$(STAMP): pyproject.toml .ci/constraints.txt
	@bash .ci/setup python
	@touch $@

system: # Debian packages and the Go toolchain, where they are missing
	@bash .ci/setup system

.PHONY: help run test check unit live-test noop-test wheel lab-test bench docs lab-down setup system
