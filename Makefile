# Every target does its own set-up; `make help` lists them.

PYTHON ?= python3
BACKEND ?= vxlan
NODES ?= 3
STORE ?= sqlite
DATAPATH ?=

VENV := .venv
BIN := $(VENV)/bin
PROJECTS := pyproject.toml $(wildcard plugins/*/pyproject.toml)
PLUGINS := $(dir $(wildcard plugins/*/pyproject.toml))
EDITABLE := $(foreach plugin,$(PLUGINS),-e $(plugin))
EDITABLE_TEST := $(foreach plugin,$(PLUGINS),-e '$(plugin)[test]')
# Tests wait more than they work. All tests of a file are one worker's.
WORKERS ?= 2
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Tests start hundreds of processes from this tree: without .pyc files each compiles it anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-quick check bench bench-udp docs kube-apiserver clean need-ip need-etcd need-cni need-systemd
.DELETE_ON_ERROR:

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-14s %s\n", $$1, $$2 }'
	@echo
	@echo "  variables: BACKEND=$(BACKEND) NODES=$(NODES) STORE=$(STORE) (demo; also etcd),"
	@echo "             DATAPATH= (demo BACKEND=udp: kernel, userspace),"
	@echo "             ARGS= (pytest, bench), WORKERS=$(WORKERS) (test), ETCD= (a server), PYTHON=$(PYTHON)"

venv: $(VENV)/.installed ## make .venv with flannel-sdk and its plugins from this tree

demo: $(VENV)/.installed need-ip $(if $(filter etcd,$(STORE)),need-etcd) ## a lab of NODES nodes with BACKEND and STORE: ping all pairs, break a device, see it heal
	$(BIN)/flannel-sdk lab demo --backend $(BACKEND) --nodes $(NODES)$(if $(DATAPATH), --backend-option Datapath=$(DATAPATH))$(if $(filter-out sqlite,$(STORE)), --store $(STORE))

test: $(VENV)/.installed-test need-ip need-etcd need-cni need-systemd ## all tests (run as root for all); skipped ones say why
	@sh .ci/etcd.sh debian $(BIN)/python || true
	@sh .ci/firewall.sh
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-quick: $(VENV)/.installed-test ## the tests that need no root, no etcd server and no time
	$(BIN)/python -m pytest -n auto --hypothesis-profile=quick -m "not root and not flannel_root and not slow and not server" $(ARGS)

check: $(VENV)/.installed-check ## ruff, mypy --strict (tests too) and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench-udp: $(VENV)/.installed-test need-ip $(if $(FLANNELD),need-etcd) ## what packets cost: veth, vxlan, udp in kernel and userspace, FLANNELD's (root)
	$(BIN)/python -m benchmarks.udp $(ARGS)

bench: $(VENV)/.installed-test need-ip need-etcd ## measure convergence with up to 50,000 peers against the kernel's own floor (root)
	$(BIN)/python benchmarks/run.py $(ARGS)

docs: $(VENV)/.installed-docs ## the documentation as a site in build/site
	$(BIN)/python -m docs.hooks.pictures
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

kube-apiserver: ## build Kubernetes API servers for the tests, once (Debian 12; 15 minutes, kept in ~/.cache)
	@sh .ci/kube-apiserver.sh build
	@sh .ci/nodeapi.sh

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
	$(PIP) -e '.[test]' $(EDITABLE_TEST)
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) -e '.[docs]'
	@touch $@

$(VENV)/.installed-check: $(VENV)/.installed
	$(PIP) -e '.[check]' $(EDITABLE_TEST)
	@touch $@ $(VENV)/.installed-test $(VENV)/.installed-docs

need-ip:
	@command -v ip >/dev/null || PATH="$$PATH:/sbin:/usr/sbin" command -v ip >/dev/null || sh .ci/need.sh iproute2 "there is no ip command"

need-etcd: $(VENV)/.installed
	@sh .ci/etcd.sh need $(BIN)/python

need-cni:
	@test -x /usr/lib/cni/bridge || sh .ci/need.sh containernetworking-plugins "there are no CNI plugins" || true

need-systemd:
	@command -v systemd-analyze >/dev/null || sh .ci/need.sh systemd "there is no systemd-analyze" || true
