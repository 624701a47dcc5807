# One command per wish; `make help` lists them. Only Python 3.11+ and make must be there, everything else goes to .venv.

# The first suitable interpreter of this machine; another one: make setup PYTHON=python3.12
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c '$(IS_SUPPORTED)' 2>/dev/null && { echo "$$python"; exit; }; done; echo python3)
# What `make run` simulates, and on how many worker processes it runs
EVENTS ?= 1000000
WORKERS ?= 2
# What the notebooks simulate when they are executed as tests
TEST_EVENTS ?= 20000
# Further arguments of the program behind `make test`, `make lab`, `make bench` or `make lock`
ARGS ?=

BIN := .venv/bin
# Newer than the lock and the project file when .venv holds what they ask for
READY := .venv/.ready
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
VERSION := import sys; print(*sys.version_info[:2], sep=".")
IS_SUPPORTED := import sys; sys.exit(sys.version_info < (3, 11))

# Jupyter refuses to start as root (the usual user in a container) unless told that this is meant
ALLOW_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run lab test lint bench lock clean distclean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s%s\n", $$1, $$2 }' Makefile

setup: $(READY)  ## the environment in .venv, from requirements.lock
ifneq ($(origin PYTHON),file)
	@"$(PYTHON)" -c '$(VERSION)' | grep -qx "$$($(BIN)/python -c '$(VERSION)')" || { \
		echo ".venv is Python $$($(BIN)/python -c '$(VERSION)'), not the one of '$(PYTHON)'." >&2; \
		echo "To change it: make distclean, then the same command again." >&2; exit 1; }
else
	@:
endif

$(READY): requirements.lock pyproject.toml
	@"$(PYTHON)" -c '$(IS_SUPPORTED)' 2>/dev/null || { \
		echo "af-kit needs Python 3.11 or newer, and '$(PYTHON)' is not: $$("$(PYTHON)" --version 2>&1)." >&2; \
		echo "Name one that is: make setup PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' has no venv module. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@{ $(BIN)/python -c '$(IS_SUPPORTED)' && $(BIN)/python -m pip --version; } >/dev/null 2>&1 \
		|| "$(PYTHON)" -m venv --clear .venv
	@echo "Installing requirements.lock into .venv: one to two minutes the first time."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: setup  ## simulate samples, run the dimuon analysis, execute the notebooks: all into out/
	rm -rf out/samples out/dimuon out/notebooks
	$(BIN)/af-kit simulate dimuon --events $(EVENTS) --files 4 --seed 1 --out out/samples
	$(BIN)/af-kit run dimuon out/samples/fileset.yaml --n-workers $(WORKERS) --out out/dimuon
	AF_KIT_EVENTS=$(EVENTS) AF_KIT_OUT="$(CURDIR)/out/notebooks" \
		$(BIN)/jupyter-nbconvert --execute --to notebook --output-dir out/notebooks $(NOTEBOOKS)
	$(BIN)/jupyter-nbconvert --to html --output-dir out/notebooks $(NOTEBOOKS:%=out/%)
	@printf '\nPlots and tables of this run, in %s/out:\n' "$(CURDIR)"
	@cd out && find dimuon notebooks -type f ! -name '*.ipynb' ! -name '*.root' | LC_ALL=C sort | sed 's/^/  /'
	@printf '\nThe notebooks in JupyterLab, to change and run again: make lab\n'

lab: setup  ## JupyterLab on 127.0.0.1, in notebooks/
	$(BIN)/jupyter-lab --ip=127.0.0.1 --ServerApp.root_dir="$(CURDIR)" \
		--LabApp.default_url=/lab/tree/notebooks $(ALLOW_ROOT) $(ARGS)

# One pytest run for tests and notebooks: its closing line is the last one printed, and tells all.
test: lint  ## lint, then all tests and every notebook
	rm -rf out/test
	AF_KIT_EVENTS=$(TEST_EVENTS) AF_KIT_OUT="$(CURDIR)/out/test" \
		$(BIN)/python -m pytest tests --nbmake $(NOTEBOOKS) $(ARGS)

lint: setup  ## ruff, mypy, no outputs in notebooks
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(if $(NOTEBOOKS),$(BIN)/nbstripout --verify $(NOTEBOOKS))

bench: setup  ## speed of this kit and its peers on the same files
	$(BIN)/python benchmarks/run.py $(ARGS)

COMPILE := $(BIN)/uv pip compile --universal --generate-hashes
# The image and environment.yml take the part of the lock that runs; the image's build also what makes the wheel.
lock: setup  ## all locks anew from pyproject.toml (ARGS=--upgrade for the newest versions)
	$(COMPILE) --extra dev pyproject.toml -o requirements.lock --python-version 3.11 --quiet $(ARGS)
	$(COMPILE) --no-annotate pyproject.toml -c requirements.lock -o docker/requirements.lock --python-version 3.11 --quiet
	echo hatchling | $(COMPILE) --no-annotate - -c requirements.lock -o docker/build.lock --python-version 3.11 --quiet
	$(COMPILE) --no-annotate --extra hub pyproject.toml -c requirements.lock -o services/kubernetes/facility/requirements.lock --python-version 3.11 --quiet

clean:  ## remove what run, test and lint wrote
	rm -rf out tests/artefacts .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path './.*' -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

distclean: clean  ## the same, and the environments
	rm -rf .venv .venv-bench
