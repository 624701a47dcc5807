# One command per task; `make help` lists them. Needs only Python 3.11+ and make; everything else is installed in .venv.

# The first suitable interpreter on this machine. To use another one: make setup PYTHON=python3.12
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c '$(IS_SUPPORTED)' 2>/dev/null && { echo "$$python"; exit; }; done; echo python3)
# Events that `make run` simulates, and the number of its worker processes
EVENTS ?= 1000000
WORKERS ?= 2
# Events that the notebooks simulate when they run as tests
TEST_EVENTS ?= 20000
# Files of tests that run at a time
JOBS ?= 2
# Additional arguments of the program behind `make docs`, `make test`, `make lab`, `make bench` or `make lock`
ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Installs the lock in an eighth of pip's time, but does not know a registry that only pip's configuration names
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python
# Newer than the lock and the project file if .venv is up to date with them
READY := .venv/.ready
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
VERSION := import sys; print(*sys.version_info[:2], sep=".")
IS_SUPPORTED := import sys; sys.exit(sys.version_info < (3, 11))

# Jupyter refuses to start as root (the usual user in a container) unless this flag allows it
ALLOW_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

# Images often forbid bytecode. Then every process, each worker too, compiles all its modules again: 3 s of its start.
unexport PYTHONDONTWRITEBYTECODE

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run lab docs test lint bench fuzz faults dist audit lock clean distclean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s%s\n", $$1, $$2 }' Makefile

setup: $(READY)  ## create the environment in .venv from requirements.lock
ifneq ($(origin PYTHON),file)
	@"$(PYTHON)" -c '$(VERSION)' | grep -qx "$$($(BIN)/python -c '$(VERSION)')" || { \
		echo ".venv has Python $$($(BIN)/python -c '$(VERSION)'), not the version of '$(PYTHON)'." >&2; \
		echo "To change it, run make distclean, then this command again." >&2; exit 1; }
else
	@:
endif

$(READY): requirements.lock pyproject.toml
	@"$(PYTHON)" -c '$(IS_SUPPORTED)' 2>/dev/null || { \
		echo "af-kit needs Python 3.11 or newer; '$(PYTHON)' reports: $$("$(PYTHON)" --version 2>&1)." >&2; \
		echo "Name another interpreter: make setup PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' has no venv module. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@{ $(BIN)/python -c '$(IS_SUPPORTED)' && $(BIN)/python -m pip --version; } >/dev/null 2>&1 \
		|| "$(PYTHON)" -m venv --clear .venv
	@echo "Installing requirements.lock into .venv: one to two minutes the first time."
	@awk '/^[a-z]/ { on = /^uv==/ } on' requirements.lock >.venv/uv.lock
	@$(PIP) --require-hashes --requirement .venv/uv.lock
	@$(UV) --require-hashes --requirement requirements.lock || $(PIP) --require-hashes --requirement requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

run: setup  ## simulate samples, run the dimuon analysis, execute the notebooks; output in out/
	rm -rf out/samples out/dimuon out/notebooks
	$(BIN)/af-kit simulate dimuon --events $(EVENTS) --files 4 --seed 1 --out out/samples
	$(BIN)/af-kit run dimuon out/samples/fileset.yaml --n-workers $(WORKERS) --out out/dimuon
	AF_KIT_EVENTS=$(EVENTS) AF_KIT_OUT="$(CURDIR)/out/notebooks" \
		$(BIN)/jupyter-nbconvert --execute --to notebook --output-dir out/notebooks $(NOTEBOOKS)
	$(BIN)/jupyter-nbconvert --to html --output-dir out/notebooks $(NOTEBOOKS:%=out/%)
	@printf '\nPlots and tables of this run in %s/out:\n' "$(CURDIR)"
	@cd out && find dimuon notebooks -type f ! -name '*.ipynb' ! -name '*.root' | LC_ALL=C sort | sed 's/^/  /'
	@printf '\nTo edit and run the notebooks in JupyterLab: make lab\n'

lab: setup  ## start JupyterLab on 127.0.0.1, in notebooks/
	$(BIN)/jupyter-lab --ip=127.0.0.1 --ServerApp.root_dir="$(CURDIR)" \
		--LabApp.default_url=/lab/tree/notebooks $(ALLOW_ROOT) $(ARGS)

docs: setup  ## build the documentation's site, check its links; output in out/docs/html (ARGS=--no-notebooks: faster)
	PYTHONPATH=docs:. $(BIN)/python -m builder --events $(TEST_EVENTS) $(ARGS)

# One pytest run for tests and notebooks, so that its closing line comes last and covers everything.
test: lint  ## run lint, then all tests and every notebook
	rm -rf out/test
	AF_KIT_EVENTS=$(TEST_EVENTS) AF_KIT_OUT="$(CURDIR)/out/test" \
		$(BIN)/python -m pytest tests --nbmake $(NOTEBOOKS) -n $(JOBS) --no-loadscope-reorder $(ARGS)

lint: setup  ## run ruff and mypy, check that notebooks have no outputs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(if $(NOTEBOOKS),$(BIN)/nbstripout --verify $(NOTEBOOKS))

bench: setup  ## measure the speed of this kit and its peers on the same files
	$(BIN)/python benchmarks/run.py $(ARGS)

fuzz: setup  ## read N mutated files, from SEED on, as a user would; list what is neither right nor refused
	nice -n 10 $(BIN)/python tests/fuzz/driver.py --cases $(or $(N),1000) --seed $(or $(SEED),1) $(ARGS)

faults: setup  ## disturb N runs, from SEED on (killed workers, cut networks, full disks); list what is neither right nor reported
	nice -n 10 $(BIN)/python tests/faults/driver.py --cases $(or $(N),100) --seed $(or $(SEED),1) $(ARGS)

dist: setup  ## build the wheel and the sdist, in out/dist
	rm -rf out/dist
	$(BIN)/uv build --quiet --no-build-isolation --offline --out-dir out/dist
	@ls -1 out/dist

audit: setup  ## check the licences of all packages, and the locked versions for known vulnerabilities (needs the internet)
	$(BIN)/python tests/audit/audit.py

COMPILE := $(BIN)/uv pip compile --universal --generate-hashes
# The image and environment.yml use the part of the lock without development tools; docker/build.lock has what builds the kit's wheel.
lock: setup  ## update all locks from pyproject.toml (ARGS=--upgrade for the newest versions)
	$(COMPILE) --extra all --extra dev --extra train pyproject.toml -o requirements.lock --python-version 3.11 --quiet $(ARGS)
	$(COMPILE) --no-annotate --extra all pyproject.toml -c requirements.lock -o docker/requirements.lock --python-version 3.11 --quiet
	echo hatchling | $(COMPILE) --no-annotate - -c requirements.lock -o docker/build.lock --python-version 3.11 --quiet
	$(COMPILE) --no-annotate --extra all --extra hub pyproject.toml -c requirements.lock -o services/kubernetes/facility/requirements.lock --python-version 3.11 --quiet

clean:  ## remove the output of run, test and lint
	rm -rf out tests/artefacts .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path './.*' -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

distclean: clean  ## clean, and remove the environments
	rm -rf .venv .venv-bench
