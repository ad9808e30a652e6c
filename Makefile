# Every target does its own set-up: on a fresh Debian or Ubuntu machine `make test` and `make demo`
# need Python 3.11 or newer, make, and, where system packages are missing, root or sudo.
# Set PYTHON to choose the interpreter, VENV to put the virtual environment elsewhere and WORKERS
# for the processes that share the tests.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV ?= .venv
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
  then echo $$python; break; fi; done)
# Processes that share the tests; those that measure the window's pauses come afterwards, alone. A
# process that crashes ends the run: with a new one in its place pytest-xdist 3.8 waits for ever.
WORKERS ?= 2
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# A virtual display with software OpenGL, and what Qt's xcb plugin loads.
DISPLAY_PACKAGES := xvfb libgl1 libegl1 libgl1-mesa-dri libdbus-1-3 libxkbcommon-x11-0 \
  libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-render-util0 \
  libxcb-xinerama0 fonts-dejavu-core

.PHONY: help test test-slow demo lint format wheel install install-test display constraints clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

test: lint display ## Check style, types and architecture, then run the whole test suite
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --max-worker-restart 0 --durations 15 \
	  -m "not slow and not alone"
	$(BIN)/python -m pytest -m "alone and not slow"

test-slow: install-test display ## Run the tests that take minutes
	$(BIN)/python -m pytest -m slow

demo: install ## Segment the bundled sample with the bundled model into demo-output/
	$(BIN)/litesam demo

lint: install-test ## Check style, types, architecture and the plugin's manifest
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/npe2 validate src/napari_litesam/napari.yaml

format: install-test ## Format the code and apply safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: install-test ## Build the wheel and the source archive into dist/
	$(BIN)/hatchling build -d dist

install: $(VENV)/.installed ## Make the virtual environment with what the demo needs

install-test: $(VENV)/.installed-test ## Make the virtual environment with what the tests need

display: ## Install the system packages of a virtual display where they are missing
	@if [ "$$(uname -s)" = Linux ]; then .ci/install-debian-packages $(DISPLAY_PACKAGES); fi

constraints: install-test ## Write the installed versions to .ci/constraints.txt
	@{ echo '# The versions that `make test` and `make demo` install; written by `make constraints`.'; \
	  $(PIP) freeze --exclude-editable | sed -E 's/^([A-Za-z0-9_.-]+==[^+]*)\+.*/\1/'; } > .ci/constraints.new
	@mv .ci/constraints.new .ci/constraints.txt

clean: ## Remove the virtual environment, caches and build results
	rm -rf $(VENV) build dist demo-output .mypy_cache .ruff_cache .pytest_cache \
	  .import_linter_cache .hypothesis

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
	  echo "Python 3.11 or newer is needed and was not found; set PYTHON=..." >&2; exit 1; fi
	@if ! $(PYTHON) -c 'import ensurepip' 2>/dev/null; then .ci/install-debian-packages \
	  "$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"; fi
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml .ci/constraints.txt | $(BIN)/python
	$(PIP) install -q -c .ci/constraints.txt -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml .ci/constraints.txt | $(BIN)/python
	$(PIP) install -q -c .ci/constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.installed
