# Every target does its own set-up; `make help` lists them.

PYTHON ?= python3
BACKEND ?= vxlan
NODES ?= 3

VENV := .venv
BIN := $(VENV)/bin
PROJECTS := pyproject.toml $(wildcard plugins/*/pyproject.toml)
EDITABLE := $(foreach plugin,$(wildcard plugins/*/pyproject.toml),-e $(dir $(plugin)))
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check


.DEFAULT_GOAL := help
.PHONY: help venv demo test test-quick check bench clean need-ip
.DELETE_ON_ERROR:

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-11s %s\n", $$1, $$2 }'
	@echo
	@echo "  variables: BACKEND=$(BACKEND) NODES=$(NODES) (demo), ARGS= (pytest, bench), PYTHON=$(PYTHON)"

venv: $(VENV)/.installed ## make .venv with flannel-sdk and its plugins from this tree

demo: $(VENV)/.installed need-ip ## a lab of NODES nodes with BACKEND: ping all pairs, break a device, see it heal
	$(BIN)/flannel-sdk lab demo --backend $(BACKEND) --nodes $(NODES)

test: $(VENV)/.installed-test need-ip ## all tests (run as root for all); skipped ones say why
	$(BIN)/python -m pytest $(ARGS)

test-quick: $(VENV)/.installed-test ## the tests that need no root and no time
	$(BIN)/python -m pytest -m "not root and not slow" $(ARGS)

check: $(VENV)/.installed-check ## ruff, mypy --strict (tests too) and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed need-ip ## measure convergence with up to 50,000 peers against the kernel's own floor (root)
	$(BIN)/python benchmarks/run.py $(ARGS)

clean: ## remove .venv, caches and build output (not a lab: flannel-sdk lab down)
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf plugins/*/build plugins/*/dist
	find . -path ./.git -prune -o \( -name __pycache__ -o -name '*.egg-info' \) -type d -print0 | xargs -0 rm -rf

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "make: $(PYTHON) is missing or older than 3.11; install python3 or name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || sh .ci/need.sh python3-venv "$(PYTHON) cannot make a virtual environment"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python $(PROJECTS)
	$(PIP) -e . $(EDITABLE)
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) -e '.[test]' $(EDITABLE)
	@touch $@

$(VENV)/.installed-check: $(VENV)/.installed
	$(PIP) -e '.[check]' $(EDITABLE)
	@touch $@ $(VENV)/.installed-test

need-ip:
	@command -v ip >/dev/null || PATH="$$PATH:/sbin:/usr/sbin" command -v ip >/dev/null || sh .ci/need.sh iproute2 "there is no ip command"
